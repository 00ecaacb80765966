#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/backends/chain_range.hpp"
#include "core/backends/generic_posterior.hpp"
#include "core/backends/groups.hpp"
#include "core/block_plan.hpp"
#include "core/log_product.hpp"
#include "core/view.hpp"
#include "core/wide_chain.hpp"

// The recursions of hidden Markov chains as chain.hpp states them, as group kernels (groups.hpp) and functors: a group walks
// along a piece of a sequence step by step, and each of its threads is there for one state, or for several.
namespace tally::generic {

// A block of pieces under one candidate, K states with M columns each: for a mixture its components, else M is 1 and columns
// are emissions.
template <class Real>
struct ChainBlock {
  Index states = 0, mixtures = 1;
  const Real *start = nullptr, *transitions = nullptr, *transposed = nullptr;      // (K), (K, K), (K, K)
  const double *exact_start = nullptr, *exact_transitions = nullptr;
  const Piece* pieces = nullptr;
  Index piece_count = 0;
  const double* messages = nullptr;   // (pieces of cut sequences, 2, K), as ChainMessages has them
  MatrixView<const Real> logits;      // (rows, K M), log-densities
  const double* offsets = nullptr;    // (rows), what belongs to a row whatever its state
  double log_of_nothing = 0;          // log-densities below are those of 0
  MatrixView<Real> columns;           // (rows, K M), relative to the likeliest of the row
  MatrixView<Real> emissions;         // (rows, K), sums of columns; w after the backward recursion
  double* maxima = nullptr;           // (rows), the logarithm of the likeliest, with the offset
  MatrixView<Real> alpha, gamma;      // (rows, K)
  double* scales = nullptr;           // (rows)
  std::int64_t* impossible = nullptr;  // (pieces): the first such row within the block, or -1

  TALLY_HD const double* incoming(const Piece& piece) const {
    return piece.begins ? nullptr : messages + piece.number * 2 * states;
  }
  TALLY_HD const double* outgoing(const Piece& piece) const {
    return piece.ends ? nullptr : messages + (piece.number * 2 + 1) * states;
  }
};

// exp(logit - the maximum of its row), and that maximum with the row's offset. A row that no state can emit becomes zeros;
// NaN stays.
template <class Real, int lanes>
struct ScaleEmissions {
  static constexpr int threads = 128, groups_at_once = 8;
  static constexpr int rows = threads / lanes;  // of a group
  struct Shared {};
  struct Own {
    Real largest;
  };

  ChainBlock<Real> block;

  Index groups() const { return (block.logits.rows + rows - 1) / rows; }
  template <class Group>
  TALLY_HD void operator()(Index index, Group& group, Shared&) const {
    const Index first_row = index * rows, columns = block.logits.cols;
    group.each([&](int thread, Own& own) {
      const Index i = first_row + thread / lanes;
      own.largest = -std::numeric_limits<Real>::infinity();
      if (i >= block.logits.rows) return;
      for (Index k = thread % lanes; k < columns; k += lanes)
        own.largest = LargerOrNan{}(own.largest, block.logits(i, k));
    });
    group.template combine<lanes>([](Own& own) -> Real& { return own.largest; }, LargerOrNan{});
    group.each([&](int thread, Own& own) {
      const Index i = first_row + thread / lanes;
      if (i >= block.logits.rows) return;
      const double largest = static_cast<double>(own.largest), infinity = std::numeric_limits<double>::infinity();
      const bool nothing = largest < block.log_of_nothing;
      for (Index k = thread % lanes; k < columns; k += lanes)
        block.columns(i, k) = nothing ? Real(0) : std::exp(block.logits(i, k) - own.largest);
      if (thread % lanes != 0) return;
      const double invalid = std::numeric_limits<double>::quiet_NaN();
      block.maxima[i] = (nothing ? -infinity : largest < infinity ? largest : invalid) + block.offsets[i];
    });
  }
};

struct Larger {
  TALLY_HD double operator()(double a, double b) const { return a < b ? b : a; }
};

inline constexpr Index most_chain_states = 1024;

// What walks have in common. Up to `width` states: one warp, whose threads keep a column of the weights each; width 0: a
// group for more, up to most_chain_states, which reads the weights where they lie.
template <class Real, int width>
struct ChainWalk {
  static constexpr int threads = width > 0 ? 32 : 256;
  static constexpr int groups_at_once = width == 0 ? 1 : width > 8 && sizeof(Real) == 8 ? 8 : 12;
  static constexpr int most_states = width > 0 ? width : static_cast<int>(most_chain_states);
  static constexpr int states_each = (most_states + threads - 1) / threads;
  struct Shared {
    Real state[2][most_states];
    double parts[threads / 32];
    double total;
  };
  struct Own {
    Real column[width > 0 ? width : 1];
    Real value[states_each];
    double sum;
    bool far;
  };

  // Below the smallest normal number a scale has lost its digits and its inverse may overflow.
  TALLY_HD static bool possible(double scale) {
    return scale >= static_cast<double>(std::numeric_limits<Real>::min()) &&
           scale <= static_cast<double>(std::numeric_limits<Real>::max());
  }

  // f(n, k) for each state k of a thread, its n-th.
  template <class F>
  TALLY_HD static void each_state(int thread, Index states, const F& f) {
    TALLY_UNROLL
    for (int n = 0; n < states_each; ++n)
      if (thread + n * threads < states) f(n, thread + n * threads);
  }

  template <class Group>
  TALLY_HD static void load(const Real* weights, Index states, Group& group) {
    if constexpr (width > 0)
      group.each_alone([&](int thread, Own& own) {
        TALLY_UNROLL
        for (int i = 0; i < width; ++i)
          own.column[i] = i < states && thread < states ? weights[i * states + thread] : Real(0);
      });
  }

  // State k of both places becomes first(k); there are zeros behind the last.
  template <class First, class Group>
  TALLY_HD static void begin(Index states, const First& first, Group& group, Shared& shared) {
    group.each([&](int thread, Own&) {
      for (Index k = thread; k < most_states; k += threads)
        shared.state[0][k] = shared.state[1][k] = k < states ? first(k) : Real(0);
    });
  }

  // sum_i state(i) weights(i, k)
  TALLY_HD static Real product(const Own& own, const Real* state, const Real* weights, Index states, Index k) {
    Real sums[4] = {0, 0, 0, 0};
    if constexpr (width > 0) {
      TALLY_UNROLL
      for (int i = 0; i < width; ++i) sums[i % 4] += own.column[i] * state[i];
    } else {
      Index i = 0;
      TALLY_UNROLL_BY(4)
      for (; i + 4 <= states; i += 4) {
        TALLY_UNROLL
        for (int p = 0; p < 4; ++p) sums[p] += weights[(i + p) * states + k] * state[i + p];
      }
      for (; i < states; ++i) sums[0] += weights[i * states + k] * state[i];
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }

  // All threads' sums, combined, become shared.total.
  template <class Op, class Group>
  TALLY_HD static void gather(const Op& op, Group& group, Shared& shared) {
    group.template combine<(width > 0 && width < 32 ? width : 32)>([](Own& own) -> double& { return own.sum; }, op);
    if constexpr (threads > 32)
      group.each([&](int thread, Own& own) {
        if (thread % 32 == 0) shared.parts[thread / 32] = own.sum;
      });
    group.each([&](int thread, Own& own) {
      if (thread != 0) return;
      double total = own.sum;
      for (int part = 1; part < threads / 32; ++part) total = op(total, shared.parts[part]);
      shared.total = total;
    });
  }

  // What a step came to: alpha is `factor` times own.value.
  struct Step {
    bool possible;
    double scale, shift;  // `shift`: by how much the likeliest emission was another than the row's
    Real factor;
  };

  // The forward recursion from shared.state[0] over a row, of which `starts` tells whether its sequence begins there. Where
  // the step seems impossible, the states that can be there may only be far less likely than others that cannot: it is
  // taken again relative to the likeliest that can be reached, and where `keep` is set the row's emissions with it.
  template <class Group>
  TALLY_HD static Step step(const ChainBlock<Real>& block, Index row, bool starts, bool keep, Group& group,
                            Shared& shared) {
    const Index K = block.states;
    group.each_alone([&](int thread, Own& own) {
      own.sum = 0;
      each_state(thread, K, [&](int n, Index k) {
        const Real before = starts ? block.start[k] : product(own, shared.state[0], block.transitions, K, k);
        own.value[n] = before * block.emissions(row, k);
        own.sum += static_cast<double>(own.value[n]);
      });
    });
    gather(Plus{}, group, shared);
    const double scale = shared.total;
    if (possible(scale)) return {true, scale, 0, static_cast<Real>(1 / scale)};
    return step_by_logarithms(block, row, starts, keep, group, shared);
  }

  template <class Group>
  TALLY_HD static Step step_by_logarithms(const ChainBlock<Real>& block, Index row, bool starts, bool keep,
                                          Group& group, Shared& shared) {
    const Index K = block.states, M = block.mixtures;
    const auto predicted = [&](Index k) {
      if (starts) return block.exact_start[k];
      double sum = 0;
      for (Index i = 0; i < K; ++i) sum += static_cast<double>(shared.state[0][i]) * block.exact_transitions[i * K + k];
      return sum;
    };
    group.each([&](int thread, Own& own) {
      own.sum = -std::numeric_limits<double>::infinity();
      each_state(thread, K, [&](int, Index k) {
        if (!(predicted(k) > 0)) return;
        for (Index m = 0; m < M; ++m) own.sum = Larger{}(own.sum, static_cast<double>(block.logits(row, k * M + m)));
      });
    });
    gather(Larger{}, group, shared);
    const double largest = shared.total;
    if (!(largest >= block.log_of_nothing)) return {false, 0, 0, Real(0)};
    const auto ratio = [&](Index column) { return std::exp(static_cast<double>(block.logits(row, column)) - largest); };
    const auto emission = [&](Index k) {
      double sum = 0;
      for (Index m = 0; m < M; ++m) sum += ratio(k * M + m);
      return sum;
    };
    group.each([&](int thread, Own& own) {
      own.sum = 0;
      each_state(thread, K, [&](int, Index k) {
        const double before = predicted(k);
        if (before > 0) own.sum += before * emission(k);
      });
    });
    gather(Plus{}, group, shared);
    const double scale = shared.total;
    if (!(scale >= std::numeric_limits<double>::min())) return {false, 0, 0, Real(0)};
    group.each([&](int thread, Own& own) {
      each_state(thread, K, [&](int n, Index k) {
        const double before = predicted(k), emits = before > 0 ? emission(k) : 0;
        own.value[n] = static_cast<Real>(before * emits / scale);
        if (!keep) return;
        for (Index m = 0; m < M; ++m) block.columns(row, k * M + m) = static_cast<Real>(before > 0 ? ratio(k * M + m) : 0);
        block.emissions(row, k) = static_cast<Real>(emits);
      });
    });
    return {true, scale, largest + block.offsets[row] - block.maxima[row], Real(1)};
  }
};

// Alpha, scales and the first impossible row of each piece.
template <class Real, int width>
struct ChainForward {
  using Walk = ChainWalk<Real, width>;
  using Shared = typename Walk::Shared;
  using Own = typename Walk::Own;
  static constexpr int threads = Walk::threads, groups_at_once = Walk::groups_at_once;

  ChainBlock<Real> block;

  Index groups() const { return block.piece_count; }
  template <class Group>
  TALLY_HD void operator()(Index index, Group& group, Shared& shared) const {
    const Piece piece = block.pieces[index];
    const double* const incoming = block.incoming(piece);
    Walk::load(block.transitions, block.states, group);
    Walk::begin(block.states, [&](Index k) { return incoming ? static_cast<Real>(linear_of_message(incoming[k])) : Real(0); }, group, shared);
    Index impossible = -1;
    for (Index row = piece.first; row < piece.first + piece.steps; ++row) {
      typename Walk::Step step{false, 0, 0, Real(0)};
      if (impossible < 0) step = Walk::step(block, row, piece.begins && row == piece.first, true, group, shared);
      if (impossible < 0 && !step.possible) impossible = row;
      group.each([&](int thread, Own& own) {
        Walk::each_state(thread, block.states, [&](int n, Index k) {
          const Real value = step.possible ? own.value[n] * step.factor : Real(0);
          block.alpha(row, k) = value;
          shared.state[0][k] = value;
        });
        if (thread != 0) return;
        block.scales[row] = step.scale;
        if (step.shift != 0) block.maxima[row] += step.shift;
      });
    }
    group.each([&](int thread, Own&) {
      if (thread == 0) block.impossible[index] = impossible;
    });
  }
};

// Gamma, and w in the place of emissions.
template <class Real, int width>
struct ChainBackward {
  using Walk = ChainWalk<Real, width>;
  using Shared = typename Walk::Shared;
  using Own = typename Walk::Own;
  static constexpr int threads = Walk::threads, groups_at_once = Walk::groups_at_once;

  ChainBlock<Real> block;

  Index groups() const { return block.piece_count; }
  template <class Group>
  TALLY_HD void operator()(Index index, Group& group, Shared& shared) const {
    const Piece piece = block.pieces[index];
    const Index K = block.states, last = piece.first + piece.steps - 1;
    const double* const outgoing = block.outgoing(piece);
    const auto after = [&](Index k) { return outgoing ? bound_of_message(outgoing[k]) : 1.0; };
    Walk::load(block.transposed, K, group);
    Walk::begin(K, [](Index) { return Real(0); }, group, shared);
    group.each([&](int thread, Own& own) {
      own.sum = 0;
      Walk::each_state(thread, K, [&](int, Index k) { own.sum += static_cast<double>(block.alpha(last, k)) * after(k); });
    });
    Walk::gather(Plus{}, group, shared);
    const double overlap = shared.total;
    bool goes_on = !outgoing;  // else what follows is impossible, as its own piece tells
    for (Index k = 0; k < K && !goes_on; ++k) goes_on = outgoing[k] != 0;
    if (!(block.scales[last] > 0) || !goes_on) return clear(piece, group);
    if (!Walk::possible(overlap)) return give_up(index, last, group);
    Real factor = 1;
    for (Index row = last; row >= piece.first; --row) {
      const bool looks = (row - piece.first) % looks_every == 0;
      const Real* const before = shared.state[(last - row) % 2];
      Real* const next = shared.state[(last - row + 1) % 2];
      const Real scaled = factor / static_cast<Real>(block.scales[row]);
      group.each([&](int thread, Own& own) {
        own.sum = 0;
        if (row == last) own.far = false;
        Walk::each_state(thread, K, [&](int, Index k) {
          Real beta;
          if (row == last)
            beta = static_cast<Real>(smaller(after(k) / overlap, static_cast<double>(std::numeric_limits<Real>::max())));
          else
            beta = Walk::product(own, before, block.transposed, K, k);
          const Real gamma = block.alpha(row, k) * beta, onwards = beta * scaled;
          const Real w = larger(larger(block.emissions(row, k), Range::smallest) * onwards, Range::smallest);
          own.far = own.far || !(onwards <= Range::farthest);
          block.gamma(row, k) = gamma;
          block.emissions(row, k) = piece.begins && row == piece.first ? Real(0) : w;
          next[k] = w;
          own.sum += static_cast<double>(gamma);
        });
        if (looks && own.far) own.sum = std::numeric_limits<double>::quiet_NaN();
      });
      factor = 1;
      if (!looks) continue;
      Walk::gather(Plus{}, group, shared);
      if (!(std::abs(shared.total - 1) < static_cast<double>(Range::rounding))) return give_up(index, row, group);
      factor = static_cast<Real>(1 / shared.total);
    }
  }

 private:
  // A piece in which a state might count although its alpha has underflowed is given up.
  using Range = ChainRange<Real>;
  // Now and then the sums of gamma are looked at: rounding would let them drift from 1, which the next step corrects.
  static constexpr Index looks_every = 16;

  template <class T>
  TALLY_HD static T smaller(T a, T b) {
    return b < a ? b : a;
  }
  template <class T>
  TALLY_HD static T larger(T a, T b) {
    return a < b ? b : a;
  }

  // As if the row were impossible.
  template <class Group>
  TALLY_HD void give_up(Index index, Index row, Group& group) const {
    group.each([&](int thread, Own&) {
      if (thread != 0) return;
      block.impossible[index] = row;
      block.scales[row] = 0;
    });
    clear(block.pieces[index], group);
  }

  template <class Group>
  TALLY_HD void clear(const Piece& piece, Group& group) const {
    group.each([&](int thread, Own&) {
      for (Index row = piece.first; row < piece.first + piece.steps; ++row)
        for (Index k = thread; k < block.states; k += threads) block.gamma(row, k) = block.emissions(row, k) = 0;
    });
  }
};

// What each piece does to any message, as ChainProducts has it: a group for each piece and state before it.
template <class Real, int width>
struct ChainCompose {
  using Walk = ChainWalk<Real, width>;
  using Shared = typename Walk::Shared;
  using Own = typename Walk::Own;
  static constexpr int threads = Walk::threads, groups_at_once = Walk::groups_at_once;

  ChainBlock<Real> block;
  double* products;  // (pieces, K + 1, K), zeros

  Index groups() const { return block.piece_count * block.states; }
  template <class Group>
  TALLY_HD void operator()(Index index, Group& group, Shared& shared) const {
    const Index K = block.states, number = index / K, from = index - number * K;
    const Piece piece = block.pieces[number];
    if (piece.begins && from > 0) return;
    double* const vectors = products + number * (K + 1) * K;
    Walk::load(block.transitions, K, group);
    Walk::begin(K, [&](Index k) { return k == from ? Real(1) : Real(0); }, group, shared);
    LogProduct probability;
    double shift = 0;
    for (Index row = piece.first; row < piece.first + piece.steps; ++row) {
      const auto step = Walk::step(block, row, piece.begins && row == piece.first, false, group, shared);
      probability.multiply(step.scale);
      shift += step.shift;
      group.each([&](int thread, Own& own) {
        Walk::each_state(thread, K, [&](int n, Index k) {
          shared.state[0][k] = step.possible ? own.value[n] * step.factor : Real(0);
        });
      });
      if (!step.possible) break;
    }
    group.each([&](int thread, Own&) {
      for (Index k = thread; k < K; k += threads) vectors[from * K + k] = static_cast<double>(shared.state[0][k]);
      if (thread == 0) vectors[K * K + from] = probability.log() + shift;
    });
  }
};

// Each row's share of the objective; a row of weight zero has none, be it impossible.
struct ChainObjective {
  const double* scales;   // (rows)
  const double* maxima;   // (rows)
  const double* weights;  // (rows) or null
  double* objectives;     // (rows), of weight 1
  double* row_sums;       // (rows)
  Index rows;

  Index count() const { return rows; }
  TALLY_HD void operator()(Index i) const {
    objectives[i] = std::log(scales[i]) + maxima[i];
    const double weight = weights ? weights[i] : 1;
    row_sums[i] = weight == 0 ? 0 : weight * objectives[i];
  }
};

// The smaller of *first and 1 + the first impossible row of a block's pieces that weigh anything; 0: none.
struct FirstImpossible {
  static constexpr int threads = 256, groups_at_once = 4;
  struct Shared {
    std::int64_t parts[threads / 32];
  };
  struct Own {
    std::int64_t first;
  };
  // 0 counts as none.
  struct Earlier {
    TALLY_HD std::int64_t operator()(std::int64_t a, std::int64_t b) const {
      return a == 0 ? b : b == 0 ? a : a < b ? a : b;
    }
  };

  const Piece* pieces;
  const std::int64_t* impossible;  // (pieces), within the block
  Index piece_count;
  const double* weights;  // (rows) or null
  Index first_row;        // of the block
  std::int64_t* first;

  Index groups() const { return 1; }
  template <class Group>
  TALLY_HD void operator()(Index, Group& group, Shared& shared) const {
    group.each([&](int thread, Own& own) {
      own.first = 0;
      for (Index p = thread; p < piece_count; p += threads)
        if (impossible[p] >= 0 && !(weights && weights[pieces[p].first] == 0))
          own.first = Earlier{}(own.first, first_row + impossible[p] + 1);
    });
    group.template combine<32>([](Own& own) -> std::int64_t& { return own.first; }, Earlier{});
    group.each([&](int thread, Own& own) {
      if (thread % 32 == 0) shared.parts[thread / 32] = own.first;
    });
    group.each([&](int thread, Own&) {
      if (thread != 0) return;
      std::int64_t earliest = *first;
      for (const std::int64_t part : shared.parts) earliest = Earlier{}(earliest, part);
      *first = earliest;
    });
  }
};

// Weighted sums of first states, in runs of pieces.
template <class Real>
struct SumStarts {
  static constexpr Index run = 256;
  const Piece* pieces;
  Index piece_count;
  const double* weights;         // (rows) or null
  MatrixView<const Real> gamma;  // (rows, K)
  double* sums;                  // (runs, K)

  Index runs() const { return (piece_count + run - 1) / run; }
  Index count() const { return runs() * gamma.cols; }
  TALLY_HD void operator()(Index i) const {
    const Index first = i / gamma.cols * run, k = i % gamma.cols;
    double sum = 0;
    for (Index p = first; p < piece_count && p < first + run; ++p)
      if (pieces[p].begins)
        sum += (weights ? weights[pieces[p].first] : 1) * static_cast<double>(gamma(pieces[p].first, k));
    sums[i] = sum;
  }
};

// Expected transitions of sums of alpha_t-1 w_t'; an entry of A that is 0 stays 0 whatever stands beside it.
struct AddTransitions {
  const double* products;     // (K, K)
  const double* transitions;  // (K, K), or null where labels were given: the products are the sums
  double* sums;               // (K, K)
  Index size;

  Index count() const { return size; }
  TALLY_HD void operator()(Index i) const {
    if (!transitions)
      sums[i] += products[i];
    else if (transitions[i] > 0)
      sums[i] += transitions[i] * products[i];
  }
};

// The row before each piece in what comes before rows (rows, K): zeros where a sequence begins, and before the first piece
// of a block its message.
template <class Real>
struct WriteBefore {
  const Piece* pieces;
  Index piece_count;
  const double* messages;
  Index states;
  Real* before;

  Index count() const { return piece_count * states; }
  TALLY_HD void operator()(Index i) const {
    const Index p = i / states, k = i - p * states;
    const Piece& piece = pieces[p];
    if (piece.begins)
      before[piece.first * states + k] = 0;
    else if (p == 0)
      before[k] = static_cast<Real>(linear_of_message(messages[piece.number * 2 * states + k]));
  }
};

// to[i] = from[i]
template <class Real>
struct CopyValues {
  const Real* from;
  Real* to;
  Index size;

  Index count() const { return size; }
  TALLY_HD void operator()(Index i) const { to[i] = from[i]; }
};

}  // namespace tally::generic
