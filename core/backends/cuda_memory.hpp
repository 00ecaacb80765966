#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include <cuda_runtime.h>

#include "core/backends/check_cuda.hpp"
#include "core/view.hpp"

namespace tally {

// Memory of the device that was current when it was reserved.
template <class T>
class CudaMemory {
 public:
  CudaMemory() = default;
  CudaMemory(CudaMemory&& other) noexcept
      : values_(std::move(other.values_)), count_(std::exchange(other.count_, 0)) {}
  CudaMemory& operator=(CudaMemory&& other) noexcept {
    values_ = std::move(other.values_);
    count_ = std::exchange(other.count_, 0);
    return *this;
  }

  // Makes room for `count` elements, cleared; what was there is lost. Throws DeviceError: out of memory.
  void reserve(Index count) {
    if (count <= count_) return;
    values_.reset();
    count_ = 0;
    void* allocated = nullptr;
    const std::size_t byte_count = static_cast<std::size_t>(count) * sizeof(T);
    const cudaError_t code = cudaMalloc(&allocated, byte_count);
    if (code == cudaErrorMemoryAllocation) throw_out_of_memory(byte_count);
    check_cuda(code);
    values_.reset(static_cast<T*>(allocated));
    count_ = count;
    // Clearing belongs to no stream of ours: wait, so that it precedes whatever those do.
    check_cuda(cudaMemset(allocated, 0, byte_count));
    check_cuda(cudaDeviceSynchronize());
  }
  T* data() { return values_.get(); }
  Index bytes() const noexcept { return count_ * static_cast<Index>(sizeof(T)); }

 private:
  [[noreturn]] static void throw_out_of_memory(std::size_t asked) {
    (void)cudaGetLastError();  // it does not stick
    std::size_t available = 0, total = 0;
    check_cuda(cudaMemGetInfo(&available, &total));
    const auto in_mebibytes = [](std::size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; };
    throw DeviceError("the GPU has too little memory: " + in_mebibytes(asked) + " were asked for and " +
                      in_mebibytes(available) + " of " + in_mebibytes(total) +
                      " are free; keep fewer rows there with --memory, or compute in fewer streams with --threads");
  }

  struct Free {
    void operator()(T* values) const noexcept { (void)cudaFree(values); }  // a destructor cannot report
  };
  std::unique_ptr<T, Free> values_;
  Index count_ = 0;
};

}  // namespace tally
