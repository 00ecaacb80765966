#pragma once
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include <mpi.h>

#include "comm/communicator.hpp"
#include "comm/heartbeat.hpp"
#include "comm/roll_call.hpp"

namespace tally {

struct MpiCommunicatorOptions {
  // How long a rank may give no sign of life while another waits for it. At least 200 ms.
  std::chrono::milliseconds timeout = std::chrono::seconds(60);
  TimeNow clock = std::chrono::steady_clock::now;
};

// All ranks of an MPI communicator. Calls come from the thread that initialised MPI. Collectives are nonblocking MPI
// calls that are tested until they complete, so that a lost rank is noticed (see Heartbeat) and ranks that wait for
// each other are (see RollCall). Once such an error was thrown MPI still knows the buffers of that collective: every
// later call throws it again, and what remains is to abort the job. Of ranks that wait for each other rank 0 throws
// CommunicationError, the others the same as a RelayedFailure.
class MpiCommunicator final : public Communicator {
 public:
  // Works on two private duplicates of `parent`. Gathers the host names: one MPI_Iallreduce. Collective.
  explicit MpiCommunicator(MPI_Comm parent, const MpiCommunicatorOptions& options = {});
  // Takes leave of the neighbours and frees the duplicates: one MPI_Iallreduce; waits for the others within the
  // timeout. Where an exception is unwinding or a peer was lost it waits for nobody. Let a collective that all ranks wait for (a sum, a barrier)
  // come last. Collective.
  ~MpiCommunicator() override;
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  int rank() const noexcept override { return rank_; }
  int size() const noexcept override { return size_; }
  int node_rank() const noexcept override { return node_rank_; }
  const std::string& host_name() const noexcept override {
    return host_names_[static_cast<std::size_t>(rank_)];
  }

  // One MPI_Iallreduce up to 2^31 - 1 values; one for each 2^30 values beyond. On four ranks or more it keeps room for a
  // copy of the largest sum of 64 KiB or more. Collective.
  void sum(std::span<std::int64_t> values) override;
  void sum(std::span<double> values) override;
  // One MPI_Iallreduce. Throws UsageError from 2^31 - 3 values on. Collective.
  void sum_and_max(std::span<std::int64_t> sums, std::span<std::int64_t> maxima) override;
  // One MPI_Ibcast, in pieces as sum(). Collective.
  void broadcast(std::span<std::byte> bytes, int root) override;
  // One MPI_Iallreduce of the lengths; then, unless all are zero, one MPI_Igatherv, or more where 2^30 bytes divided
  // by the number of ranks are less than the longest. Collective.
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes) override;
  void barrier() override;
  // Calls nothing of MPI but the heartbeat, and the roll call after the timeout.
  void wait_until(const char* name, const std::function<CollectiveState()>& look) override;
  void give_up(ErrorKind kind, const std::string& message) noexcept override;
  // A clock reading, unless a heartbeat is due.
  void pulse() override;

 private:
  using Start = std::function<int(MPI_Request*)>;
  // Starts a nonblocking collective and waits for it; `name` is for messages.
  void complete(const char* name, const Start& start,
                std::source_location where = std::source_location::current());
  // Looks until that says done, and watches the others meanwhile.
  void wait(const char* name, RollCall::Waits waits, const std::function<CollectiveState()>& look);
  void throw_if_lost() const;
  // Throws where waiting in `name` has no end.
  void watch(const char* name);
  // What the others told of, or that all ranks stand still; it happened to all, and one of them reports it.
  [[noreturn]] void throw_alarm() const;
  [[noreturn]] void throw_standstill() const;
  // What MPI is to send of a sum of these bytes: MPI_IN_PLACE, or a copy of them.
  const void* copy_to_send(std::span<const std::byte> bytes);
  template <class T>
  void sum_in_pieces(const char* name, std::span<T> values, MPI_Datatype type);
  void gather_host_names();
  std::string place(int rank) const;
  // That the rank before this one is lost.
  std::string describe_loss(const char* name) const;
  // Who waits where.
  std::string describe_standstill() const;

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  int node_rank_ = 0;
  int exceptions_at_start_;
  std::vector<std::string> host_names_;
  std::unique_ptr<Heartbeat> heartbeat_;
  std::unique_ptr<RollCall> roll_call_;
  std::vector<std::byte> sent_;
  std::exception_ptr lost_;  // why no further call can succeed
};

}  // namespace tally
