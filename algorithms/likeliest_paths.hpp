#pragma once
#include <functional>
#include <vector>

#include "algorithms/chain_messages.hpp"
#include "algorithms/chain_order.hpp"
#include "algorithms/message_exchange.hpp"
#include "algorithms/model.hpp"
#include "core/backends/chain.hpp"
#include "core/compensated_sum.hpp"
#include "core/shard.hpp"

namespace tally {

// The likeliest path of states through every sequence of a shard (Viterbi, Error bounds for convolutional codes, 1967),
// block by block: where a sequence is cut, delta passes from piece to piece to its end, then the path backward to its
// start. The best predecessors are kept of one piece a lane.
template <class Real>
class LikeliestPaths {
 public:
  // What the steps of a block emit.
  struct Emissions {
    MatrixView<const Real> states;    // (rows, K), log-densities
    const double* offsets = nullptr;  // (rows), what belongs to a row whatever its state
  };
  using Emit = std::function<Emissions(int lane, const StoredBlock& block)>;

  // From start (K) and transition probabilities (K, K). `cuts` are those of the exchange, for which this makes room. `emit` runs on
  // the lanes and keeps what it returns until the lane's next call. The shard must outlive this.
  LikeliestPaths(Shard& shard, const std::vector<Index>& cuts, Index states, const double* start, const double* transitions, Emit emit);

  // Visits every part of a path and every sequence's log-probability, as BoundModel::decode says. Collective.
  void find(MessageExchange& exchange, const BoundModel::VisitPath& visit_path,
            const BoundModel::VisitProbability& visit_probability, const Shard::Pulse& pulse);

 private:
  // Delta (K), its largest value taken away, and the sum of what was: so that neither the choice of a path nor its
  // log-probability loses digits along a sequence.
  struct Lane {
    std::vector<double> delta;
    CompensatedSum taken;
    std::vector<cpu::BackPointer> best_from;  // (steps, K)
    std::vector<std::int32_t> path;           // (steps)
    Index state_before = 0;
  };

  Lane& lane_of(int index) { return lanes_[static_cast<std::size_t>(index)]; }
  // The recursion over a piece, from what it knows of those before.
  void advance(Lane& lane, const Emissions& emissions, const Piece& piece, const double* incoming,
               MatrixView<cpu::BackPointer> best_from) const;
  // The part of the likeliest path in a piece. `last`: its last state; null where the sequence ends.
  void finish(Lane& lane, const StoredBlock& block, const Emissions& emissions, const Piece& piece, const double* incoming,
              const double* last, const BoundModel::VisitPath& visit_path,
              const BoundModel::VisitProbability& visit_probability) const;

  Shard& shard_;
  Index states_;
  std::vector<double> log_weights_;  // of starts (K), then of transitions (K, K)
  Emit emit_;
  std::vector<Lane> lanes_;
  ChainMessages messages_;  // forward delta (K) and the two numbers of the sum; backward the state
  ChainOrder order_;
};

}  // namespace tally
