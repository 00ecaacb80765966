#pragma once
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/view.hpp"

// The recursions of hidden Markov chains in the scaled linear domain, vectorised for the processor at hand. K states; rows
// are steps of sequences that lie end to end. Every piece of a sequence gives the same bits alone and beside others.
namespace tally::cpu {

// A run of steps of one sequence.
struct ChainPiece {
  Index first = 0;  // row
  Index steps = 0;
  // Messages (wide_chain.hpp): the distribution of the state before the first step, of any scale (null: the sequence begins), and
  // what the steps after the last say of each state (null: it ends).
  const double* incoming = nullptr;  // (K)
  const double* outgoing = nullptr;  // (K)
};

template <class Real>
struct ChainWeights {
  Index states;
  const Real* start;        // (K)
  const Real* transitions;  // (K, K), row i: from state i
  const Real* transposed;   // (K, K), row j: into state j
};

// Each row of `logits` (rows, K) becomes exp(logit - its maximum); `maxima` receives the maximum of each row. A row of -inf
// alone becomes zeros with maximum -inf; NaN or +inf gives a maximum of NaN.
template <class Real>
void scale_emissions(MatrixView<Real> logits, double* maxima);

// Row t of `alpha` becomes the distribution of the state given the steps of the sequence up to t, and scales[t] the
// probability of step t given those before it: sum_j (A' alpha_{t-1})_j b_t(j), of emissions b (rows, K) as
// scale_emissions leaves them. A step whose scale is no positive normal number is impossible: alpha and scale are 0 there
// and at all later steps of the piece. Returns the first impossible row of all pieces, or -1. kept[p], where
// wanted, tells that underflow has lost no state for good in piece p: soon after each loss every state was predicted with at
// least 2^-300 (in float 2^-30), and so at the last step.
template <class Real>
Index chain_forward(const ChainWeights<Real>& weights, std::span<const ChainPiece> pieces, MatrixView<const Real> b,
                    MatrixView<Real> alpha, double* scales, bool* kept = nullptr);

// With beta_T = 1, or `outgoing` scaled to alpha_T . beta_T = 1, and beta_{t-1} = A (b_t o beta_t) / scales[t]: row t of
// `gamma` becomes alpha_t o beta_t, the distribution of the state given the whole sequence, and row t of `b` becomes
// w_t = b_t o beta_t / scales[t], zeros at the first step of a sequence. The expected transitions into step t are
// A o (alpha_{t-1} w_t'), where an entry of A that is 0 counts as 0 whatever stands beside it. `beyond` receives the numbers
// of the pieces that are not to be had in this way and get zeros throughout: those with an impossible step, and those where
// what follows speaks so strongly for a state (beta over the scale above 2^880, in float 2^72) that it might count although
// its alpha or its emission has underflowed. Elsewhere what was lost is at most 2^-128 (2^-40) of the whole for each step and
// state: a path counts first where it is lost, with less than 2^-1008 (2^-112) of the step's scale, and beta bounds what it
// could still come to.
template <class Real>
void chain_backward(const ChainWeights<Real>& weights, std::span<const ChainPiece> pieces, MatrixView<Real> b,
                    MatrixView<const Real> alpha, const double* scales, MatrixView<Real> gamma,
                    std::vector<Index>& beyond);

// Whether every transition is so likely (2^-470, in float 2^-33) that states cannot be lost in `Real` by underflow: each gets
// from another what makes its loss negligible. Then chain_forward and chain_compose alone tell the probability of the steps.
template <class Real>
bool states_mix(const ChainWeights<Real>& weights);

// Row i of `product` (K, K) becomes the distribution of the state after the steps of b given state i before them, and
// log_scales[i] the log of their probability; zeros and -inf where they are impossible, or may have lost a state for good.
template <class Real>
void chain_compose(const ChainWeights<Real>& weights, MatrixView<const Real> b, MatrixView<double> product,
                   double* log_scales);

// The best state before each, of ties the lowest.
using BackPointer = std::int16_t;
inline constexpr Index most_states = std::numeric_limits<BackPointer>::max();

// What Viterbi's recursion reads; -inf where a state cannot be.
struct LogChainWeights {
  Index states;               // at most most_states
  const double* start;        // (K)
  const double* transitions;  // (K, K), row i: from state i
};

// delta_t(j) = log b_t(j) + max_i (delta_{t-1}(i) + log A(i, j)), in double. `delta` (K) holds delta before the first row
// (unless a sequence `begins`) and receives that of the last. Row t of `from` (rows, K), if it has data, becomes the
// maximising i, and 0 at the first step of a sequence.
template <class Real>
void chain_viterbi(const LogChainWeights& weights, MatrixView<const Real> log_b, bool begins, double* delta,
                   MatrixView<BackPointer> from);

// The best path through the rows of `from` that ends in state `last` becomes path (rows). Returns the state before it.
Index chain_backtrack(MatrixView<const BackPointer> from, Index last, std::int32_t* path);

}  // namespace tally::cpu
