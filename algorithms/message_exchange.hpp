#pragma once
#include <functional>
#include <span>
#include <vector>

#include "core/view.hpp"

namespace tally {

// How a pass over sequences that are cut across ranks hands messages on. A model sees numbers of blocks, never a rank.
class MessageExchange {
 public:
  virtual ~MessageExchange() = default;

  // The blocks at which another rank's begin, in order, without the first block and with nothing for ranks that have
  // none.
  virtual const std::vector<Index>& cuts() const noexcept = 0;
  // Runs work of this rank alone without which it cannot take part in the exchanges. Where it throws on any rank, all ranks throw
  // the same error. Collective.
  virtual void agree(const std::function<void()>& work) = 0;
  // Runs work of this rank alone. Once it has thrown, later work is left out and the rank only takes part in the exchanges;
  // who owns the exchange reports the failure.
  virtual void locally(const std::function<void()>& work) = 0;
  // Brings numbers that one rank each has written, and the others left 0, to all ranks. Collective.
  virtual void share(std::span<double> values) = 0;
};

}  // namespace tally
