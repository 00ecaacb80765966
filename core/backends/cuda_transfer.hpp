#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <type_traits>

#include <cuda_runtime.h>

#include "core/backends/check_cuda.hpp"

// Included only by sources that are compiled as CUDA.
namespace tally {

namespace detail {
// Destructors cannot report what they are told.
struct DestroyStream {
  void operator()(cudaStream_t stream) const noexcept { (void)cudaStreamDestroy(stream); }
};
struct DestroyEvent {
  void operator()(cudaEvent_t event) const noexcept { (void)cudaEventDestroy(event); }
};
struct FreeHost {
  void operator()(std::byte* memory) const noexcept { (void)cudaFreeHost(memory); }
};
}  // namespace detail

using CudaStream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, detail::DestroyStream>;
using CudaEvent = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, detail::DestroyEvent>;

inline CudaStream make_cuda_stream() {
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return CudaStream(stream);
}
inline CudaEvent make_cuda_event() {
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return CudaEvent(event);
}

// Copies to the device through pinned host memory on a stream of its own, beside what the lane computes. Two chunks take
// turns: while one travels the host fills the other.
class CudaTransfer {
 public:
  CudaTransfer() = default;
  CudaTransfer(CudaTransfer&&) = default;
  CudaTransfer& operator=(CudaTransfer&&) = default;
  ~CudaTransfer() {
    if (stream_) (void)cudaStreamSynchronize(stream_.get());  // what it still copies ends before the memory goes
  }

  // Waits, on the device, until `computing` is done with the place.
  void begin(int place) {
    make();
    check_cuda(cudaStreamWaitEvent(stream_.get(), used_[static_cast<std::size_t>(place)].get(), 0));
  }
  // `from` may be reused at once.
  void copy(const void* from, void* to, std::size_t bytes) {
    make();
    for (std::size_t done = 0; done < bytes;) {
      const std::size_t part = std::min(bytes - done, chunk_bytes);
      Chunk& chunk = chunks_[next_];
      next_ = (next_ + 1) % chunks_.size();
      check_cuda(cudaEventSynchronize(chunk.sent.get()));
      std::memcpy(chunk.memory.get(), static_cast<const std::byte*>(from) + done, part);
      check_cuda(cudaMemcpyAsync(static_cast<std::byte*>(to) + done, chunk.memory.get(), part, cudaMemcpyHostToDevice,
                                 stream_.get()));
      check_cuda(cudaEventRecord(chunk.sent.get(), stream_.get()));
      done += part;
    }
  }
  // What `computing` is given from here on waits for what was copied.
  void end(cudaStream_t computing) {
    check_cuda(cudaEventRecord(arrived_.get(), stream_.get()));
    check_cuda(cudaStreamWaitEvent(computing, arrived_.get(), 0));
  }
  void end_use(int place, cudaStream_t computing) {
    make();
    check_cuda(cudaEventRecord(used_[static_cast<std::size_t>(place)].get(), computing));
  }

 private:
  static constexpr std::size_t chunk_bytes = std::size_t{4} << 20;
  struct Chunk {
    std::unique_ptr<std::byte, detail::FreeHost> memory;
    CudaEvent sent;
  };

  // Only where rows are streamed at all: pinned memory is dear.
  void make() {
    if (stream_) return;
    for (Chunk& chunk : chunks_) {
      void* memory = nullptr;
      check_cuda(cudaMallocHost(&memory, chunk_bytes));
      chunk.memory.reset(static_cast<std::byte*>(memory));
      chunk.sent = make_cuda_event();
    }
    for (CudaEvent& event : used_) event = make_cuda_event();
    arrived_ = make_cuda_event();
    stream_ = make_cuda_stream();
  }

  std::array<Chunk, 2> chunks_;
  std::array<CudaEvent, 2> used_;
  CudaEvent arrived_;
  std::size_t next_ = 0;
  CudaStream stream_;
};

}  // namespace tally
