#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <thread>
#include <type_traits>

#include <cuda_runtime.h>
#include <nccl.h>

#include "core/backends/check_cuda.hpp"
#include "core/device_collective.hpp"
#include "core/error.hpp"

// Included only by sources that are compiled as CUDA; nothing else includes nccl.h.
namespace tally {

// Throws DeviceError with NCCL's own words where a call failed; one that goes on in the background did not.
inline void check_nccl(ncclResult_t code, ncclComm_t comm = nullptr,
                       std::source_location where = std::source_location::current()) {
  if (code == ncclSuccess || code == ncclInProgress) return;
  std::string words = ncclGetErrorString(code);
  const char* last = ncclGetLastError(comm);
  if (last && *last) words += std::string(" (") + last + ")";
  detail::throw_device_error("NCCL", words.c_str(), static_cast<int>(code), where);
}

// This rank's part in the world of all ranks' GPUs; for one rank there is nothing to it. Its operation is the start,
// which a missing rank cannot make hang: NCCL works in the background and is polled.
class NcclConnection final : public DeviceCollective {
 public:
  static constexpr std::size_t id_bytes = NCCL_UNIQUE_ID_BYTES;

  // Writes `id_bytes` bytes, on rank 0, that the host gives to all ranks. Throws DeviceError.
  static void make_id(void* bytes) {
    static_assert(sizeof(ncclUniqueId) == id_bytes);
    ncclUniqueId id;
    check_nccl(ncclGetUniqueId(&id));
    std::memcpy(bytes, &id, id_bytes);
  }

  // On the current device. `id` is `id_bytes` bytes, not read for one rank. Throws DeviceError.
  NcclConnection(const void* id, int rank, int rank_count) : rank_(rank), rank_count_(rank_count) {
    check_cuda(cudaGetDevice(&device_));
    if (rank_count_ > 1) std::memcpy(&id_, id, id_bytes);
  }
  // Waits some seconds for the other ranks to be done with it too, unless it was aborted or an exception unwinds.
  ~NcclConnection() override {
    if (!comm_) return;
    if (!connected_ || std::uncaught_exceptions() > exceptions_at_start_ || !finalize()) abort();
  }
  NcclConnection(const NcclConnection&) = delete;
  NcclConnection& operator=(const NcclConnection&) = delete;

  const char* name() const noexcept override { return "the start of NCCL"; }

  void start() override {
    throw_if_aborted();
    if (is_alone()) return;
    check_cuda(cudaSetDevice(device_));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    check_nccl(ncclCommInitRankConfig(&comm_, rank_count_, id_, rank_, &config), comm_);
  }

  CollectiveState poll() override {
    connected_ = is_alone() || !is_in_progress();
    return connected_ ? CollectiveState::done : CollectiveState::waiting;
  }

  // Ends what runs on the device too.
  void abort() noexcept override {
    aborted_ = true;
    if (comm_) (void)ncclCommAbort(comm_);  // frees it, whatever it returns
    comm_ = nullptr;
  }

  bool is_alone() const noexcept { return rank_count_ == 1; }
  // Null for one rank.
  ncclComm_t get() const noexcept { return comm_; }
  void select_device() const { check_cuda(cudaSetDevice(device_)); }
  void throw_if_aborted() const {
    if (aborted_) throw DeviceError("NCCL was aborted after an error; start anew, from the last checkpoint");
  }

  // Whether NCCL still works on the last call in the background. Throws DeviceError where anything failed since; errors
  // that may be a peer's only after a while, in which the peer itself can report them (see wait_for).
  bool is_in_progress() {
    throw_if_aborted();
    ncclResult_t state = ncclSuccess;
    check_nccl(ncclCommGetAsyncError(comm_, &state), comm_);
    const bool may_be_a_peers = state == ncclRemoteError || state == ncclSystemError;
    const auto now = std::chrono::steady_clock::now();
    if (may_be_a_peers && !error_seen_) error_seen_ = now;
    if (may_be_a_peers && now - *error_seen_ < patience) return true;
    check_nccl(state, comm_);
    return state == ncclInProgress;
  }

 private:
  static constexpr std::chrono::seconds patience{5};

  bool finalize() noexcept {
    ncclResult_t state = ncclCommFinalize(comm_);
    const auto start = std::chrono::steady_clock::now();
    while (state == ncclInProgress && std::chrono::steady_clock::now() - start < patience) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (ncclCommGetAsyncError(comm_, &state) != ncclSuccess) return false;
    }
    if (state != ncclSuccess) return false;
    (void)ncclCommDestroy(comm_);  // a destructor cannot report
    comm_ = nullptr;
    return true;
  }

  ncclUniqueId id_{};
  int rank_ = 0;
  int rank_count_ = 1;
  int device_ = 0;
  int exceptions_at_start_ = std::uncaught_exceptions();
  ncclComm_t comm_ = nullptr;
  bool connected_ = false;
  bool aborted_ = false;
  std::optional<std::chrono::steady_clock::time_point> error_seen_;
};

// Sums integers in device memory over ranks, in place: one ncclAllReduce on `stream`, after what the stream has to do
// before it. An abort ends the connection.
class NcclSum final : public DeviceCollective {
 public:
  // `values` (count) is memory of the connection's device. Connection, stream and memory outlive this object.
  NcclSum(NcclConnection& connection, cudaStream_t stream, std::int64_t* values, std::size_t count)
      : connection_(connection), stream_(stream), values_(values), count_(count) {
    connection_.select_device();
    joined_ = make_event();
    finished_ = make_event();
  }

  const char* name() const noexcept override { return "the sum on the GPUs"; }

  void start() override {
    connection_.throw_if_aborted();
    connection_.select_device();
    check_cuda(cudaEventRecord(joined_.get(), stream_));
    launched_ = connection_.is_alone();
    if (launched_) return;
    static_assert(sizeof(std::int64_t) == 8);
    check_nccl(ncclAllReduce(values_, values_, count_, ncclInt64, ncclSum, connection_.get(), stream_),
               connection_.get());
  }

  CollectiveState poll() override {
    if (connection_.is_alone()) return is_over(joined_) ? CollectiveState::done : CollectiveState::working;
    const bool in_progress = connection_.is_in_progress();
    // Only now has NCCL put its kernel on the stream, so that an event can follow it.
    if (!in_progress && !launched_) {
      connection_.select_device();
      check_cuda(cudaEventRecord(finished_.get(), stream_));
      launched_ = true;
    }
    if (!in_progress && is_over(finished_)) return CollectiveState::done;
    return is_over(joined_) ? CollectiveState::waiting : CollectiveState::working;
  }

  void abort() noexcept override { connection_.abort(); }

 private:
  struct DestroyEvent {
    void operator()(cudaEvent_t event) const noexcept { (void)cudaEventDestroy(event); }
  };
  using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, DestroyEvent>;

  static Event make_event() {
    cudaEvent_t event = nullptr;
    check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    return Event(event);
  }
  static bool is_over(const Event& event) {
    const cudaError_t code = cudaEventQuery(event.get());
    if (code == cudaErrorNotReady) return false;
    check_cuda(code);
    return true;
  }

  NcclConnection& connection_;
  cudaStream_t stream_;
  std::int64_t* values_;
  std::size_t count_;
  Event joined_;    // the stream has reached the sum
  Event finished_;  // and has it
  bool launched_ = false;
};

}  // namespace tally
