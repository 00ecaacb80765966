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

// exp(log_scale - largest), where the largest is of those that count; all zeros where none does.
std::vector<double> relative_scales(const double* log_scales, const double* counts, Index states) {
  double largest = -std::numeric_limits<double>::infinity();
  for (Index i = 0; i < states; ++i)
    if (counts == nullptr || counts[i] > 0) largest = std::max(largest, log_scales[i]);
  std::vector<double> scales(static_cast<std::size_t>(states), 0.0);
  if (std::isinf(largest)) return scales;
  for (Index i = 0; i < states; ++i)
    if (counts == nullptr || counts[i] > 0) scales[static_cast<std::size_t>(i)] = std::exp(log_scales[i] - largest);
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
    for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
      if (piece->begins) continue;
      const Place place = at(c, piece->number);
      const auto before = messages.outgoing(c, piece->number - 1);
      if (piece->ends) {
        std::copy_n(place.vectors, K, before.begin());
        continue;
      }
      const auto after = messages.outgoing(c, piece->number);
      const std::vector<double> scales = relative_scales(place.log_scales, nullptr, K);
      for (Index i = 0; i < K; ++i) {
        double sum = 0;
        for (Index j = 0; j < K; ++j) sum += place.vectors[i * K + j] * after[static_cast<std::size_t>(j)];
        before[static_cast<std::size_t>(i)] = scales[static_cast<std::size_t>(i)] * sum;
      }
      normalise(before.data(), K);
    }
  }
}

std::vector<Piece> cut_pieces(const BlockPlan& plan) {
  std::vector<Piece> pieces;
  for (Index block = 0; plan.cut_piece_count() > 0 && block < plan.block_count(); ++block)
    for (const Piece& piece : plan.pieces_of(block))
      if (piece.number >= 0) pieces.push_back(piece);
  return pieces;
}

}  // namespace tally
