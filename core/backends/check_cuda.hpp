#pragma once
#include <source_location>
#include <string>

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include "core/error.hpp"

namespace tally {

namespace detail {
[[noreturn]] inline void throw_device_error(const char* library, const char* words, int code,
                                            const std::source_location& where) {
  throw DeviceError("a " + std::string(library) + " call failed in " + where.function_name() + " (" +
                    where.file_name() + ":" + std::to_string(where.line()) + "), code " +
                    std::to_string(code) + ": " + words);
}
}  // namespace detail

// Throw DeviceError with the library's own words where a call failed.
inline void check_cuda(cudaError_t code, std::source_location where = std::source_location::current()) {
  if (code != cudaSuccess)
    detail::throw_device_error("CUDA", cudaGetErrorString(code), static_cast<int>(code), where);
}
inline void check_cublas(cublasStatus_t code, std::source_location where = std::source_location::current()) {
  if (code != CUBLAS_STATUS_SUCCESS)
    detail::throw_device_error("cuBLAS", cublasGetStatusString(code), static_cast<int>(code), where);
}

}  // namespace tally
