#include "comm/device_wait.hpp"

#include <exception>
#include <string>

#include "comm/agreement.hpp"

namespace tally {
namespace {

// What became of this rank's operation, for all ranks.
Failure describe_own_failure(const Communicator& communicator) {
  Failure failure = describe_failure(std::current_exception());
  if (failure.kind != ErrorKind::communication && communicator.size() > 1) {
    failure.message = "rank " + std::to_string(communicator.rank()) + " on " + communicator.host_name() +
                      ": " + failure.message;
  }
  return failure;
}

}  // namespace

void wait_for(DeviceCollective& operation, Communicator& communicator) {
  try {
    operation.start();
    communicator.wait_until(operation.name(), [&] { return operation.poll(); });
  } catch (const RelayedFailure&) {
    operation.abort();
    throw;
  } catch (...) {
    const Failure failure = describe_own_failure(communicator);
    communicator.give_up(failure.kind, failure.message);  // first: an abort takes its time
    operation.abort();
    throw_own(failure);
  }
}

void share_id(std::span<std::byte> id, const std::function<void(std::span<std::byte>)>& make,
              Communicator& communicator) {
  agree(communicator, [&] {
    if (communicator.rank() == 0) make(id);
  });
  communicator.broadcast(id, 0);
}

}  // namespace tally
