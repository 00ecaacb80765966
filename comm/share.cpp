#include "comm/share.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace tally {

void share(Communicator& communicator, std::span<double> values) {
  std::vector<std::int64_t> bits(values.size());
  std::ranges::transform(values, bits.begin(), [](double value) { return std::bit_cast<std::int64_t>(value); });
  communicator.sum(bits);
  std::ranges::transform(bits, values.begin(), [](std::int64_t value) { return std::bit_cast<double>(value); });
}

}  // namespace tally
