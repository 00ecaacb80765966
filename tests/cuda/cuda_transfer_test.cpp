// CudaTransfer on stand-ins for the functions of CUDA that it calls, whose streams are late: needs CUDA's headers, no
// library and no GPU.
#include "core/backends/cuda_transfer.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/late_stream.hpp"

using tally::LateStream;

namespace {

bool copies_are_eager = false;

LateStream& stream_of(cudaStream_t stream) {
  return *reinterpret_cast<LateStream*>(stream);
}
LateStream::Event& event_of(cudaEvent_t event) {
  return *reinterpret_cast<LateStream::Event*>(event);
}

}  // namespace

extern "C" {
const char* cudaGetErrorString(cudaError_t) {
  return "";
}
const char* cublasGetStatusString(cublasStatus_t) {
  return "";
}
cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  *memory = std::malloc(bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  auto* const made = new LateStream;
  made->set_eager(copies_are_eager);
  *stream = reinterpret_cast<cudaStream_t>(made);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete &stream_of(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  stream_of(stream).finish();
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  stream_of(stream).wait_for(event_of(event));
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = reinterpret_cast<cudaEvent_t>(new LateStream::Event);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete &event_of(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event_of(event) = stream_of(stream).record();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  event_of(event).wait();
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  stream_of(stream).give([=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}
}

namespace {

struct CudaTransferTest : testing::TestWithParam<bool> {
  CudaTransferTest() { copies_are_eager = GetParam(); }
};

// Blocks of three chunks and a bit through two places that take turns, each summed by work that comes late.
TEST_P(CudaTransferTest, EachBlockIsSeenWholeByTheWorkOnIt) {
  constexpr std::size_t count = (std::size_t{13} << 20) / sizeof(std::int64_t);
  constexpr int blocks = 6;
  LateStream computing;
  std::vector<std::int64_t> places[] = {std::vector<std::int64_t>(count), std::vector<std::int64_t>(count)};
  std::vector<std::int64_t> sums, expected;
  std::vector<std::int64_t> source(count);
  tally::CudaTransfer transfer;

  for (int block = 0; block < blocks; ++block) {
    std::iota(source.begin(), source.end(), block);
    expected.push_back(std::accumulate(source.begin(), source.end(), std::int64_t{0}));
    std::vector<std::int64_t>& place = places[block % 2];
    transfer.begin(block % 2);
    transfer.copy(source.data(), place.data(), count * sizeof(std::int64_t));
    transfer.end(reinterpret_cast<cudaStream_t>(&computing));
    computing.give([&] { sums.push_back(std::accumulate(place.begin(), place.end(), std::int64_t{0})); });
    transfer.end_use(block % 2, reinterpret_cast<cudaStream_t>(&computing));
  }
  computing.finish();

  EXPECT_EQ(sums, expected);
}

INSTANTIATE_TEST_SUITE_P(CopiesLateAndEager, CudaTransferTest, testing::Bool());

}  // namespace
