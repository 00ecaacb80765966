#include "algorithms/likeliest_paths.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tally {

template <class Real>
LikeliestPaths<Real>::LikeliestPaths(Shard& shard, const std::vector<Index>& cuts, Index states, const double* start,
                                     const double* transitions, Emit emit)
    : shard_(shard),
      states_(states),
      emit_(std::move(emit)),
      lanes_(static_cast<std::size_t>(shard.lanes())),
      messages_(shard.plan(), states + 2, 1),
      order_(shard.plan(), cuts, messages_) {
  for (Index k = 0; k < states; ++k) log_weights_.push_back(std::log(start[k]));
  for (Index i = 0; i < states * states; ++i) log_weights_.push_back(std::log(transitions[i]));
}

template <class Real>
void LikeliestPaths<Real>::find(MessageExchange& exchange, const BoundModel::VisitPath& visit_path,
                                const BoundModel::VisitProbability& visit_probability, const Shard::Pulse& pulse) {
  const int first[] = {0};
  exchange.locally([&] {
    shard_.for_each_block(
        whole_blocks(shard_),
        [&](int index, const StoredBlock& block) {
          const Emissions emissions = emit_(index, block);
          for (const Piece& piece : shard_.plan().pieces_of(block.number))
            finish(lane_of(index), block, emissions, piece, nullptr, nullptr, visit_path, visit_probability);
        },
        pulse);
  });
  if (shard_.plan().cut_piece_count() == 0) return;
  order_.run(
      shard_, exchange, first,
      [&](int index, const StoredBlock& block, const ChainOrder::Step& step) {
        Lane& lane = lane_of(index);
        const Emissions emissions = emit_(index, block);
        for (const Piece& piece : shard_.plan().pieces_of(block.number)) {
          const double* const incoming = step.message(0, piece);
          const auto next = step.next(0, piece);
          if (!next.empty()) {
            advance(lane, emissions, piece, incoming, {});
            std::ranges::copy(lane.delta, next.begin());
            next[next.size() - 2] = lane.taken.rounded;
            next[next.size() - 1] = lane.taken.rest;
          }
          step.hand_on(0, piece);
        }
      },
      nullptr, pulse);
  order_.run(
      shard_, exchange, first, nullptr,
      [&](int index, const StoredBlock& block, const ChainOrder::Step& step) {
        Lane& lane = lane_of(index);
        const Emissions emissions = emit_(index, block);
        std::vector<Piece> pieces = shard_.plan().pieces_of(block.number);
        std::reverse(pieces.begin(), pieces.end());
        for (const Piece& piece : pieces) {
          const double* const last = step.message(0, piece);
          finish(lane, block, emissions, piece, messages_.incoming(0, piece), last, visit_path, visit_probability);
          const auto next = step.next(0, piece);
          if (!next.empty()) next.front() = static_cast<double>(lane.state_before);
          step.hand_on(0, piece);
        }
      },
      pulse);
}

template <class Real>
void LikeliestPaths<Real>::advance(Lane& lane, const Emissions& emissions, const Piece& piece, const double* incoming,
                                   MatrixView<cpu::BackPointer> best_from) const {
  lane.delta.assign(static_cast<std::size_t>(states_), 0.0);
  lane.taken = {};
  if (incoming) {
    std::copy_n(incoming, states_, lane.delta.begin());
    lane.taken = {incoming[states_], incoming[states_ + 1]};
  }
  const cpu::LogChainWeights weights{states_, log_weights_.data(), log_weights_.data() + states_};
  const MatrixView<const Real> steps(emissions.states.row(piece.first), piece.steps, states_);
  cpu::chain_viterbi(weights, steps, piece.begins, lane.delta.data(), best_from);
  for (Index i = piece.first; i < piece.first + piece.steps; ++i) lane.taken.add(emissions.offsets[i]);
  const double largest = std::ranges::max(lane.delta);
  if (std::isinf(largest)) return;  // no path leads here
  for (double& delta : lane.delta) delta -= largest;
  lane.taken.add(largest);
}

template <class Real>
void LikeliestPaths<Real>::finish(Lane& lane, const StoredBlock& block, const Emissions& emissions, const Piece& piece,
                                  const double* incoming, const double* last, const BoundModel::VisitPath& visit_path,
                                  const BoundModel::VisitProbability& visit_probability) const {
  lane.best_from.resize(static_cast<std::size_t>(piece.steps * states_));
  lane.path.resize(static_cast<std::size_t>(piece.steps));
  const MatrixView<cpu::BackPointer> best_from(lane.best_from.data(), piece.steps, states_);
  advance(lane, emissions, piece, incoming, best_from);
  const auto best = std::max_element(lane.delta.begin(), lane.delta.end());
  if (!last) visit_probability(piece.sequence, *best + lane.taken.value());
  const Index state = last ? static_cast<Index>(*last) : best - lane.delta.begin();
  lane.state_before = cpu::chain_backtrack(MatrixView<const cpu::BackPointer>(best_from), state, lane.path.data());
  const unsigned char* const marks = block.missing ? block.missing + piece.first : nullptr;
  visit_path(block.first_row + piece.first, lane.path, marks ? std::count(marks, marks + piece.steps, 1) : 0);
}

template class LikeliestPaths<float>;
template class LikeliestPaths<double>;

}  // namespace tally
