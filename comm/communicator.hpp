#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/device_collective.hpp"
#include "core/error.hpp"

namespace tally {

// The control plane between ranks, on host memory. Every collective is entered by all ranks with buffers of
// equal length; each throws CommunicationError when a peer gave no sign of life within the deadline.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const noexcept = 0;
  virtual int size() const noexcept = 0;
  // This rank's position among the ranks of its host.
  virtual int node_rank() const noexcept = 0;
  // Where this rank runs, for error messages.
  virtual const std::string& host_name() const noexcept = 0;

  // Element-wise integer sum over ranks, in place. Collective.
  virtual void sum(std::span<std::int64_t> values) = 0;
  // Element-wise sum in floating point: its bits depend on the ranks. For measurements only. Collective.
  virtual void sum(std::span<double> values) = 0;
  // Sums `sums` and takes the maximum of `maxima` over ranks, in one operation of our own, in place. Collective.
  virtual void sum_and_max(std::span<std::int64_t> sums, std::span<std::int64_t> maxima) = 0;
  // Copies rank `root`'s bytes to all, in place. Collective.
  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;
  // Gives rank 0 every rank's bytes, in rank order, of any lengths; other ranks get an empty list. Collective.
  virtual std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes) = 0;
  // Returns once every rank has entered. Collective.
  virtual void barrier() = 0;

  // Waits for what goes on beside the host, such as a sum on devices: calls `look` until it says done, and is heard and
  // watches like a collective meanwhile. Throws what `look` throws; CommunicationError where a peer was lost or where
  // all ranks have waited for the timeout without working, those in collectives included: then nobody gets on.
  // `name` says what is waited for. Collective.
  virtual void wait_until(const char* name, const std::function<CollectiveState()>& look) = 0;
  // Makes the pending or next call of every other rank throw this error, as a RelayedFailure: its message should name
  // the rank. This rank's calls throw from now on. Not collective.
  virtual void give_up(ErrorKind kind, const std::string& message) noexcept = 0;

  // Tells the others that this rank is making progress; call it between blocks, as often as you like.
  // Not collective. Throws CommunicationError where a peer is known to be lost.
  virtual void pulse() = 0;
};

}  // namespace tally
