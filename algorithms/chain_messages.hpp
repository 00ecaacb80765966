#pragma once
#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "core/block_plan.hpp"
#include "core/view.hpp"
#include "core/wide.hpp"

namespace tally {

// The two messages (core/wide_chain.hpp) at every piece of the cut sequences, by candidate: `incoming`, the distribution of the
// state just before the piece given what came before, and `outgoing`, what comes after it says of each state.
class ChainMessages {
 public:
  ChainMessages() = default;
  ChainMessages(const BlockPlan& plan, Index states, int candidates);

  Index piece_count() const noexcept { return pieces_; }
  Index states() const noexcept { return states_; }
  int candidate_count() const noexcept { return candidates_; }
  // (K); null where the sequence begins with the piece.
  const double* incoming(int candidate, const Piece& piece) const;
  // (K); null where the sequence ends with the piece.
  const double* outgoing(int candidate, const Piece& piece) const;
  std::span<double> incoming(int candidate, Index piece);
  std::span<double> outgoing(int candidate, Index piece);
  std::span<double> values() noexcept { return values_; }
  void clear() { std::ranges::fill(values_, 0.0); }
  // Forgets all messages but those of the pieces [first, second).
  void keep(std::pair<Index, Index> pieces);

 private:
  Index pieces_ = 0, states_ = 0;
  int candidates_ = 0;
  std::vector<double> values_;  // (candidates, pieces, 2, K)
};

// What each piece of the cut sequences does to a message, for each candidate, filled piece by piece by whoever has it:
// where the sequence begins the message after the piece (K), else that for each state before it and the logarithms of their
// probabilities, relative to each other: (K, K) and (K). Every number has one writer.
class ChainProducts {
 public:
  ChainProducts(const BlockPlan& plan, Index states, int candidates);

  // The place of a piece: K vectors for distributions, then the logarithms.
  struct Place {
    double* vectors;     // (K, K), or a vector (K) at its start
    double* log_scales;  // (K)
  };
  Place at(int candidate, Index piece);
  std::span<double> values() noexcept { return values_; }
  void clear() { std::ranges::fill(values_, 0.0); }

  // Composes the pieces of each sequence in order and fills in all messages. Vectors are exact down to `smallest`: where what
  // follows speaks so strongly for a state that less than that might count, NaN takes the place of the message, which makes the
  // piece before it impossible under this candidate.
  void scan(std::span<const int> candidates, const std::vector<Piece>& pieces, ChainMessages& messages,
            double smallest = 0);

 private:
  void step_back(int candidate, const Piece& piece, ChainMessages& messages, Wide smallest);

  Index pieces_, states_;
  std::vector<double> values_;
};

// All pieces of cut sequences, in the order of their numbers.
std::vector<Piece> cut_pieces(const BlockPlan& plan);

}  // namespace tally
