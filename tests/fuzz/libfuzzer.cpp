// The entry of libFuzzer into the target TALLY_FUZZ_TARGET.
#include <cstddef>

#include "tests/fuzz/targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tally::fuzz::TALLY_FUZZ_TARGET({data, size});
  return 0;
}
