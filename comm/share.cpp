#include "comm/share.hpp"

#include <cstdint>
#include <cstring>

namespace tally {

void share(Communicator& communicator, std::span<double> values) {
  // In place, as a rank alone may have no memory left: memmove makes integers of the numbers, and numbers of the integers.
  if (values.empty()) return communicator.sum(std::span<std::int64_t>());
  void* const bits = std::memmove(values.data(), values.data(), values.size_bytes());
  communicator.sum(std::span(static_cast<std::int64_t*>(bits), values.size()));
  std::memmove(values.data(), bits, values.size_bytes());
}

}  // namespace tally
