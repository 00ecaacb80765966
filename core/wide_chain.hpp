#pragma once
#include <span>
#include <vector>

#include "core/view.hpp"
#include "core/wide.hpp"

// The recursions of hidden Markov chains (backends/chain.hpp) for pieces in which the probabilities of states lie further
// apart than a double reaches, and transitions of probability 0 let no state catch up: the same sums, in numbers of any size.
namespace tally {

// A message between pieces: of each state a number, their sum being 1. One below `smallest_in_message` stands as its logarithm,
// which is negative.
inline constexpr double smallest_in_message = 0x1p-1000;
Wide from_message(double entry);
// Scales to a sum of 1; zeros stay zeros.
void write_message(std::span<const Wide> values, std::span<double> message);
// The entry as the recursions in doubles take it: 0 where it is beyond them.
TALLY_HD inline double linear_of_message(double entry) { return entry > 0 ? entry : 0; }
// What is at least the entry, and beyond it by nothing that counts.
TALLY_HD inline double bound_of_message(double entry) { return entry < 0 ? smallest_in_message : entry; }

// One piece at a time; keeps what it needs between calls.
class WideChain {
 public:
  struct Transition {
    Index from, to;
    Wide probability;
  };

  // Probabilities (K) and (K, K), row i from state i.
  void set_chain(Index states, const double* start, const double* transitions);
  // The piece's log-densities (steps, K), -inf where a state cannot emit the row.
  void set_piece(MatrixView<const double> log_b);

  // From the distribution of the state before the piece, a message, or null where a sequence begins. log_scales[t] receives the
  // logarithm of the probability of step t given those before it. Returns the first impossible step, after which nothing is
  // known, or -1.
  Index forward(const double* incoming, double* log_scales);
  // The distribution of the state after step t.
  std::span<const Wide> alpha(Index t) const;
  // The probability of all steps, relative to the likeliest log-density of each.
  Wide probability() const;
  double likeliest(Index t) const { return largest_[static_cast<std::size_t>(t)]; }

  // After `forward`: `outgoing` is the message after the piece, null where the sequence ends. gamma (steps, K) receives the
  // distribution of the state given the whole sequence, and sums (K, K) gains the expected transitions into the piece's
  // steps times `weight`.
  void backward(const double* outgoing, MatrixView<double> gamma, double weight, std::span<double> sums);
  // After `backward`: the backward message before the piece.
  std::span<const Wide> before() const { return beta_; }
  // Taken so far.
  Index bytes() const noexcept;

 private:
  std::span<Wide> row(std::vector<Wide>& values, Index t) const;

  Index states_ = 0;
  std::vector<Wide> start_;
  std::vector<Transition> transitions_;  // but those of probability 0
  Index steps_ = 0;
  bool begins_ = false;
  std::vector<Wide> emissions_;  // (steps, K), relative to the likeliest of each step
  std::vector<Wide> alpha_;   // (steps + 1, K): that before the first step comes first
  std::vector<Wide> scales_;  // (steps), relative likewise
  std::vector<double> largest_;
  std::vector<Wide> beta_, w_;
};

}  // namespace tally
