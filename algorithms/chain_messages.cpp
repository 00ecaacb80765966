#include "algorithms/chain_messages.hpp"

#include <algorithm>
#include <limits>

#include "core/wide_chain.hpp"

namespace tally {

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

void ChainProducts::scan(std::span<const int> candidates, const std::vector<Piece>& pieces, ChainMessages& messages,
                         double smallest) {
  const auto K = static_cast<std::size_t>(states_);
  std::vector<Wide> vector(K);
  for (const int c : candidates) {
    for (const Piece& piece : pieces) {
      if (piece.ends) continue;
      const Place place = at(c, piece.number);
      const auto after = messages.incoming(c, piece.number + 1);
      std::ranges::fill(vector, Wide());
      if (piece.begins) {
        for (std::size_t j = 0; j < K; ++j) vector[j] = from_message(place.vectors[j]);
      } else {
        const auto before = messages.incoming(c, piece.number);
        for (std::size_t i = 0; i < K; ++i) {
          if (before[i] == 0) continue;
          const Wide weight = from_message(before[i]) * Wide::of_log(place.log_scales[i]);
          for (std::size_t j = 0; j < K; ++j) vector[j] += weight * from_message(place.vectors[i * K + j]);
        }
      }
      write_message(vector, after);
    }
    for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece)
      if (!piece->begins) step_back(c, *piece, messages, Wide(smallest));
  }
}

// Of the likelihoods of what follows from each state on, those of states that are known not to be there are left out.
void ChainProducts::step_back(int candidate, const Piece& piece, ChainMessages& messages, Wide smallest) {
  const auto K = static_cast<std::size_t>(states_);
  const Place place = at(candidate, piece.number);
  const auto incoming = messages.incoming(candidate, piece.number);
  const double* const after = messages.outgoing(candidate, piece);
  std::vector<Wide> likelihoods(K);
  Wide total, missing;  // missing: what may have been lost of it, at most
  for (std::size_t i = 0; i < K; ++i) {
    if (incoming[i] == 0 && !smallest) continue;
    const Wide before = from_message(incoming[i]), scale = Wide::of_log(place.log_scales[i]);
    const Wide weight = before * scale;
    for (std::size_t j = 0; j < K; ++j) {
      const Wide to = from_message(place.vectors[i * K + j]), then = after ? from_message(after[j]) : Wide(1);
      likelihoods[i] += to * then;
      if (to < smallest) missing += weight * smallest * then;
    }
    likelihoods[i] = likelihoods[i] * scale;
    total += before * likelihoods[i];
    if (before < smallest) missing += smallest * likelihoods[i];
  }
  constexpr double negligible = 0x1p-46;
  const auto before = messages.outgoing(candidate, piece.number - 1);
  write_message(likelihoods, before);
  if (total && Wide(negligible) * total < missing)  // else the steps are impossible, as passes tell
    std::ranges::fill(before, std::numeric_limits<double>::quiet_NaN());
}

std::vector<Piece> cut_pieces(const BlockPlan& plan) {
  std::vector<Piece> pieces;
  for (Index block = 0; plan.cut_piece_count() > 0 && block < plan.block_count(); ++block)
    for (const Piece& piece : plan.pieces_of(block))
      if (piece.number >= 0) pieces.push_back(piece);
  return pieces;
}

}  // namespace tally
