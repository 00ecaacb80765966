#pragma once
#include "core/block.hpp"
#include "launch/bench/clock.hpp"

// What the machine can do at this moment, measured beside each figure.
namespace tally::bench {

// One matrix product n^3 by the library on `threads` threads.
inline constexpr Index gemm_size = 2048;
Seconds time_gemm(Precision precision, int threads, Index n = gemm_size);
constexpr double gemm_operations(Index n = gemm_size) {
  const auto size = static_cast<double>(n);
  return 2 * size * size * size;
}

// Copying so many bytes from one array to another on `threads` threads.
inline constexpr Index copy_bytes = Index{1} << 27;
Seconds time_copy(int threads, Index bytes = copy_bytes);

}  // namespace tally::bench
