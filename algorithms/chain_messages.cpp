#include "algorithms/chain_messages.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tally {
namespace {

// Scales a vector to the sum 1; zeros stay zeros.
void normalise(double* values, Index count) {
  double sum = 0;
  for (Index k = 0; k < count; ++k) sum += values[k];
  if (!(sum > 0)) return;
  for (Index k = 0; k < count; ++k) values[k] /= sum;
}

// exp(log_scale - largest) of the states with counts, the largest being theirs; zeros elsewhere.
std::vector<double> relative_scales(const double* log_scales, const double* counts, Index states) {
  double largest = -std::numeric_limits<double>::infinity();
  for (Index i = 0; i < states; ++i)
    if (counts[i] > 0) largest = std::max(largest, log_scales[i]);
  std::vector<double> scales(static_cast<std::size_t>(states), 0.0);
  if (std::isinf(largest)) return scales;
  for (Index i = 0; i < states; ++i)
    if (counts[i] > 0) scales[static_cast<std::size_t>(i)] = std::exp(log_scales[i] - largest);
  return scales;
}

}  // namespace

ChainMessages::ChainMessages(const BlockPlan& plan, Index states, int candidates)
    : pieces_(plan.cut_piece_count()),
      states_(states),
      candidates_(candidates),
      values_(static_cast<std::size_t>(candidates * pieces_ * 2 * states), 0.0) {}

std::span<double> ChainMessages::incoming(int candidate, Index piece) {
  return std::span(values_).subspan(static_cast<std::size_t>((candidate * pieces_ + piece) * 2 * states_),
                                    static_cast<std::size_t>(states_));
}

std::span<double> ChainMessages::outgoing(int candidate, Index piece) {
  return std::span(values_).subspan(static_cast<std::size_t>(((candidate * pieces_ + piece) * 2 + 1) * states_),
                                    static_cast<std::size_t>(states_));
}

const double* ChainMessages::incoming(int candidate, const Piece& piece) const {
  return piece.begins ? nullptr : const_cast<ChainMessages*>(this)->incoming(candidate, piece.number).data();
}

const double* ChainMessages::outgoing(int candidate, const Piece& piece) const {
  return piece.ends ? nullptr : const_cast<ChainMessages*>(this)->outgoing(candidate, piece.number).data();
}

void ChainMessages::keep(std::pair<Index, Index> pieces) {
  for (int c = 0; c < candidates_; ++c)
    for (Index piece = 0; piece < pieces_; ++piece) {
      if (piece >= pieces.first && piece < pieces.second) continue;
      std::ranges::fill(incoming(c, piece), 0.0);
      std::ranges::fill(outgoing(c, piece), 0.0);
    }
}

ChainProducts::ChainProducts(const BlockPlan& plan, Index states, int candidates)
    : pieces_(plan.cut_piece_count()),
      states_(states),
      values_(static_cast<std::size_t>(candidates * pieces_ * (states + 1) * states), 0.0) {}

ChainProducts::Place ChainProducts::at(int candidate, Index piece) {
  double* const first = values_.data() + (candidate * pieces_ + piece) * (states_ + 1) * states_;
  return {first, first + states_ * states_};
}

void ChainProducts::scan(std::span<const int> candidates, const std::vector<Piece>& pieces, ChainMessages& messages) {
  const Index K = states_;
  for (const int c : candidates) {
    for (const Piece& piece : pieces) {
      if (piece.ends) continue;
      const Place place = at(c, piece.number);
      const auto after = messages.incoming(c, piece.number + 1);
      if (piece.begins) {
        std::copy_n(place.vectors, K, after.begin());
        continue;
      }
      const auto before = messages.incoming(c, piece.number);
      const std::vector<double> scales = relative_scales(place.log_scales, before.data(), K);
      std::fill(after.begin(), after.end(), 0.0);
      for (Index i = 0; i < K; ++i) {
        const auto at_i = static_cast<std::size_t>(i);
        const double weight = before[at_i] * scales[at_i];
        for (Index j = 0; j < K && weight > 0; ++j) after[static_cast<std::size_t>(j)] += weight * place.vectors[i * K + j];
      }
      normalise(after.data(), K);
    }
    for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece)
      if (!piece->begins) step_back(c, *piece, messages);
  }
}

// Of the likelihoods of what follows from each state on, only those of states that can be there count: relative to them
// another may be anything.
void ChainProducts::step_back(int candidate, const Piece& piece, ChainMessages& messages) {
  constexpr double never = -std::numeric_limits<double>::infinity(), most = 700;
  const Index K = states_;
  const Place place = at(candidate, piece.number);
  const auto incoming = messages.incoming(candidate, piece.number);
  const auto before = messages.outgoing(candidate, piece.number - 1);
  const double* const after = messages.outgoing(candidate, piece);
  std::vector<double> logs(static_cast<std::size_t>(K), never);
  double largest = never;
  for (Index i = 0; i < K; ++i) {
    const auto at_i = static_cast<std::size_t>(i);
    if (!(incoming[at_i] > 0)) continue;
    double sum = 0;
    for (Index j = 0; j < K; ++j) sum += place.vectors[i * K + j] * (after ? after[j] : 1);
    logs[at_i] = place.log_scales[i] + std::log(sum);
    largest = std::max(largest, logs[at_i] + std::log(incoming[at_i]));
  }
  for (std::size_t i = 0; i < logs.size(); ++i)
    before[i] = logs[i] > never ? std::exp(std::min(logs[i] - largest, most)) : 0;
}

std::vector<Piece> cut_pieces(const BlockPlan& plan) {
  std::vector<Piece> pieces;
  for (Index block = 0; plan.cut_piece_count() > 0 && block < plan.block_count(); ++block)
    for (const Piece& piece : plan.pieces_of(block))
      if (piece.number >= 0) pieces.push_back(piece);
  return pieces;
}

}  // namespace tally
