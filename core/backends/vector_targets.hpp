#pragma once

// For which instruction sets Highway compiles our kernels; to be included before any header of Highway's. Each takes its
// minutes to compile: on x86 there is scalar code, AVX2 (of 2013) and AVX-512. Vectors of a size that the compiler
// does not know cannot be kept in arrays; such processors take NEON instead. With a sanitizer's code between, the widest and the
// plainest are enough.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TALLY_SANITIZED 1
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | HWY_SSE4 | HWY_AVX2)
#else
#define TALLY_SANITIZED 0
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | HWY_SSE4)
#endif
