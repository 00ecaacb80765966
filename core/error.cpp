#include "core/error.hpp"

namespace tally {

void throw_error(ErrorKind kind, const std::string& message) {
  switch (kind) {
    case ErrorKind::usage: throw UsageError(message);
    case ErrorKind::data: throw DataError(message);
    case ErrorKind::device: throw DeviceError(message);
    case ErrorKind::communication: throw CommunicationError(message);
    case ErrorKind::other: break;
  }
  throw Error(message);
}

}  // namespace tally
