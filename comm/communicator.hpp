#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

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

  // Tells the others that this rank is making progress; call it between blocks, as often as you like.
  // Not collective. Throws CommunicationError where a peer is known to be lost.
  virtual void pulse() = 0;
};

}  // namespace tally
