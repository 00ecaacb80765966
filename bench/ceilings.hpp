#pragma once
#include "bench/clock.hpp"
#include "core/block.hpp"

// What the machine can do at this moment, measured beside each figure.
namespace tally::bench {

// One matrix product n^3, n = gemm_size, by the library on `threads` threads.
inline constexpr Index gemm_size = 2048;
Seconds time_gemm(Precision precision, int threads);

// Copying copy_bytes from one array to another on `threads` threads.
inline constexpr Index copy_bytes = Index{1} << 27;
Seconds time_copy(int threads);

}  // namespace tally::bench
