#pragma once

// For which instruction sets Highway compiles our kernels; to be included before any header of Highway's. Vectors of a size that
// the compiler does not know cannot be kept in arrays; such processors take NEON instead. With a sanitizer's code between,
// each instruction set takes minutes to compile: the widest and the plainest are enough there.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_RVV | HWY_SSSE3 | HWY_SSE4 | HWY_AVX2)
#else
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_RVV)
#endif
