#include "core/backends/chain.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/backends/vector_targets.hpp"
#include "hwy/aligned_allocator.h"
#include "hwy/cache_control.h"
#include "core/backends/chain_likelihood.hpp"
#include "core/backends/chain_range.hpp"
#include "core/log_product.hpp"
#include "core/wide_chain.hpp"

// Highway compiles what lies between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE once per instruction set,
// by including this file again.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/backends/chain.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "core/backends/vectors-inl.hpp"

#ifndef TALLY_CHAIN_TABLE
#define TALLY_CHAIN_TABLE
namespace tally::cpu {

// The kernels of one instruction set.
template <class Real>
struct ChainTable {
  void (*scale_emissions)(MatrixView<Real>, double*);
  Index (*forward)(const ChainWeights<Real>&, std::span<const ChainPiece>, MatrixView<const Real>, MatrixView<Real>,
                   double*, bool*);
  void (*backward)(const ChainWeights<Real>&, std::span<const ChainPiece>, MatrixView<Real>, MatrixView<const Real>,
                   const double*, MatrixView<Real>, std::vector<Index>&);
  void (*compose)(const ChainWeights<Real>&, MatrixView<const Real>, MatrixView<double>, double*);
  bool (*likelihood)(const ChainWeights<Real>&, MatrixView<const Real>, const double*, Real*);
};

// Rows that begin on a cache line, with `padding` behind their last column.
template <class Real>
class AlignedRows {
 public:
  AlignedRows(Index rows, Index width, Real padding = 0)
      : width_(width), values_(hwy::AllocateAligned<Real>(static_cast<std::size_t>(rows * width))) {
    std::fill_n(values_.get(), rows * width, padding);
  }
  AlignedRows(const Real* from, Index rows, Index cols, Index width, Real padding = 0) : AlignedRows(rows, width, padding) {
    for (Index i = 0; i < rows; ++i) std::copy_n(from + i * cols, cols, row(i));
  }

  Real* row(Index i) const { return values_.get() + i * width_; }
  Index width() const { return width_; }

 private:
  Index width_;
  hwy::AlignedFreeUniquePtr<Real[]> values_;
};

// A piece on its way through a recursion.
template <class Real>
struct Walk {
  Index number = 0;  // of the piece
  Index row = 0;     // the next
  Index left = 0;    // steps
  Real* state = nullptr;  // (K) and zeros up to a whole vector
  Real* next = nullptr;   // where the next state goes
  Real scale = 1;         // sum of the state
  Real factor = 1;        // its inverse, or 1 once it has been applied
  Real since_full = 1;    // product of the scales since every state was last predicted
  bool kept = true;       // whether no state can have been lost for good
};

// Below the smallest normal number a scale has lost its digits and its inverse may overflow.
template <class Real>
inline bool possible(Real scale) {
  return scale >= std::numeric_limits<Real>::min() && scale <= std::numeric_limits<Real>::max();
}

}  // namespace tally::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace tally::cpu {
namespace HWY_NAMESPACE {

// Takes the widest vector that a row fills. The last vector ends where the row ends and may overlap the one before.
template <size_t max_lanes, class Real>
void scale_emissions_within(MatrixView<Real> logits, double* maxima) {
  const hn::CappedTag<Real, max_lanes> d;
  const Index K = logits.cols, n = lanes_of(d);
  if constexpr (max_lanes > 1) {
    if (n > K) return scale_emissions_within<max_lanes / 2>(logits, maxima);
  }
  for (Index t = 0; t < logits.rows; ++t) {
    Real* const row = logits.row(t);
    const auto end = hn::LoadU(d, row + K - n);
    auto largest_lanes = end;
    auto invalid = hn::IsNaN(end);
    for (Index j = 0; j + n < K; j += n) {
      const auto v = hn::LoadU(d, row + j);
      largest_lanes = hn::Max(largest_lanes, v);
      invalid = hn::Or(invalid, hn::IsNaN(v));
    }
    const Real largest = largest_lane(d, largest_lanes);
    const bool finite = hn::AllFalse(d, invalid) && largest < infinity<Real>;
    maxima[t] = finite ? static_cast<double>(largest) : std::numeric_limits<double>::quiet_NaN();
    if (largest == -infinity<Real>) {
      std::fill_n(row, K, finite ? Real(0) : std::numeric_limits<Real>::quiet_NaN());
      continue;
    }
    const auto shift = hn::Set(d, largest);
    for (Index j = 0; j + n < K; j += n)
      hn::StoreU(exp_of_nonpositive(d, hn::Sub(hn::LoadU(d, row + j), shift)), d, row + j);
    hn::StoreU(exp_of_nonpositive(d, hn::Sub(end, shift)), d, row + K - n);
  }
}

template <class Real>
void scale_emissions(MatrixView<Real> logits, double* maxima) {
  scale_emissions_within<HWY_LANES(Real)>(logits, maxima);
}

// Sums that the registers hold beside the weights; fewer, which are sooner compiled, without vectors, which few processors lack, and
// with a sanitizer's code between.
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
constexpr int held_sums = 2;
#elif TALLY_SANITIZED
constexpr int held_sums = 4;
#elif HWY_ARCH_X86 && HWY_MAX_BYTES < 64
constexpr int held_sums = 8;  // 16 registers
#else
constexpr int held_sums = 16;  // 32
#endif

// How many partial sums a product takes to hide the latency of multiply-adds, and how many pieces are advanced together.
// The order of a sum, and so its bits, depends on the first alone.
template <int partial_sums, int pieces>
struct Shape {
  static constexpr int parts = partial_sums, group = pieces;
};

// take(p, column, vector) receives x_p' weights for some `vectors` vectors of columns.
template <int parts, int pieces, int vectors, class D, class Real, class Take>
HWY_INLINE void multiply_strip(D d, const AlignedRows<Real>& weights, Index K, const Real* const* x, Index column,
                               Take& take) {
  const Index n = lanes_of(d), width = weights.width();
  hn::Vec<D> sums[parts][pieces][vectors], row[vectors];
  for (int part = 0; part < parts; ++part)
    for (int p = 0; p < pieces; ++p)
      for (int v = 0; v < vectors; ++v) sums[part][p][v] = hn::Zero(d);
  const Real* from = weights.row(0) + column;
  Index i = 0;
  for (; i + parts <= K; i += parts)
    for (int part = 0; part < parts; ++part, from += width) {
      for (int v = 0; v < vectors; ++v) row[v] = hn::Load(d, from + v * n);
      for (int p = 0; p < pieces; ++p) {
        const auto value = hn::Set(d, x[p][i + part]);
        for (int v = 0; v < vectors; ++v) sums[part][p][v] = hn::MulAdd(value, row[v], sums[part][p][v]);
      }
    }
  if (parts == 2 && i < K) {
    for (int v = 0; v < vectors; ++v) row[v] = hn::Load(d, from + v * n);
    for (int p = 0; p < pieces; ++p) {
      const auto value = hn::Set(d, x[p][i]);
      for (int v = 0; v < vectors; ++v) sums[0][p][v] = hn::MulAdd(value, row[v], sums[0][p][v]);
    }
  }
  for (int v = 0; v < vectors; ++v)
    for (int p = 0; p < pieces; ++p)
      take(p, column + v * n, parts == 2 ? hn::Add(sums[0][p][v], sums[parts - 1][p][v]) : sums[0][p][v]);
}

template <int parts, int pieces>
constexpr int strip_vectors = std::clamp(held_sums / (parts * pieces), 1, 8 / parts);

// All columns in order.
template <int parts, int pieces, int vectors = strip_vectors<parts, pieces>, class D, class Real, class Take>
HWY_INLINE void multiply(D d, const AlignedRows<Real>& weights, Index K, const Real* const* x, Take& take,
                         Index column = 0) {
  const Index strip = vectors * lanes_of(d);
  for (; column + strip <= weights.width(); column += strip)
    multiply_strip<parts, pieces, vectors>(d, weights, K, x, column, take);
  if constexpr (vectors > 1) {
    if (column < weights.width()) multiply<parts, pieces, vectors / 2>(d, weights, K, x, take, column);
  }
}

// Advances as many walks as a group holds, or half of that and so on, until one of them ends.
template <int pieces, class Recursion, class Real>
HWY_INLINE void advance(Recursion& recursion, Walk<Real>* walks, Index active) {
  if constexpr (pieces > 1) {
    if (active < pieces) return advance<pieces / 2>(recursion, walks, active);
  }
  Index steps = walks[0].left;
  for (int p = 1; p < pieces; ++p) steps = std::min(steps, walks[p].left);
  recursion.template run<pieces>(walks, steps);
}

// Walks all pieces of a recursion; one that ends makes room for the next.
template <int group, class Recursion>
void walk_all(Recursion& recursion, Index count, Index width) {
  using Real = typename Recursion::Real;
  const AlignedRows<Real> states(2 * group, width);
  Walk<Real> walks[group];
  for (Index p = 0; p < group; ++p) {
    walks[p].state = states.row(2 * p);
    walks[p].next = states.row(2 * p + 1);
  }
  Index active = 0, next = 0;
  while (active > 0 || next < count) {
    while (active < group && next < count) {
      walks[active].number = next++;
      recursion.start(walks[active++]);
    }
    if (std::all_of(walks, walks + active, [](const Walk<Real>& walk) { return walk.left > 0; }))
      advance<group>(recursion, walks, active);
    for (Index p = 0; p < active;) {
      if (walks[p].left > 0) {
        ++p;
      } else {
        recursion.finish(walks[p]);
        std::swap(walks[p], walks[--active]);
      }
    }
  }
}

// v_t = (weights' v_{t-1}) o b_t / sum(v_{t-1}): a step's scale, the sum of v_t, is found and inverted while the next
// product is under way. `Output` says where each walk begins and what becomes of its steps.
template <class Shape, class D, class Output>
class Forward {
 public:
  using Real = Value<D>;

  Forward(const AlignedRows<Real>& weights, MatrixView<const Real> b, Output& output)
      : weights_(weights), b_(b), output_(output) {}

  void start(Walk<Real>& walk) {
    walk.factor = walk.since_full = 1;
    walk.kept = true;
    const Real* start = output_.start(walk);
    if (!start || walk.left == 0) return;
    Products<1> products(*this, &walk);
    for (Index column = 0; column < weights_.width(); column += lanes_of(D()))
      products(0, column, hn::Load(D(), start + column));
    if (!conclude(walk, products.sums[0], products.fewest[0])) settle(walk);
  }

  template <int pieces>
  void run(Walk<Real>* walks, Index steps) {
    for (; steps > 0; --steps) {
      Products<pieces> products(*this, walks);
      const Real* states[pieces];
      for (int p = 0; p < pieces; ++p) states[p] = walks[p].state;
      multiply<Shape::parts, pieces>(D(), weights_, b_.cols, states, products);
      bool ordinary = true;
      for (int p = 0; p < pieces; ++p) ordinary &= conclude(walks[p], products.sums[p], products.fewest[p]);
      if (!ordinary) {
        for (int p = 0; p < pieces; ++p) settle(walks[p]);
        return;
      }
    }
  }

  void finish(Walk<Real>& walk) { output_.finish(walk); }

 private:
  template <int pieces>
  struct Products {
    Index K;
    const Real* b[pieces];
    Real* next[pieces];
    hn::Vec<D> factors[pieces], sums[pieces], fewest[pieces];

    HWY_INLINE Products(const Forward& forward, const Walk<Real>* walks) : K(forward.b_.cols) {
      for (int p = 0; p < pieces; ++p) {
        b[p] = forward.b_.row(walks[p].row);
        next[p] = walks[p].next;
        factors[p] = hn::Set(D(), walks[p].factor);
        sums[p] = hn::Zero(D());
        fewest[p] = hn::Set(D(), std::numeric_limits<Real>::max());
      }
    }
    HWY_INLINE void operator()(int p, Index column, hn::Vec<D> product) {
      fewest[p] = hn::Min(fewest[p], product);
      const auto v = hn::Mul(product, hn::Mul(load_part(D(), b[p] + column, K - column), factors[p]));
      hn::Store(v, D(), next[p] + column);
      sums[p] = hn::Add(sums[p], v);
    }
  };

  // Whether the next step may go on from here. What was lost by underflow counts for nothing once every state is predicted with
  // a probability of at least `refilled`, unless what is left has become as small itself meanwhile.
  HWY_INLINE bool conclude(Walk<Real>& walk, hn::Vec<D> sums, hn::Vec<D> fewest) {
    const Real scale = hn::GetLane(hn::SumOfLanes(D(), sums));
    constexpr Real refilled = sizeof(Real) == 4 ? Real(0x1p-30f) : Real(0x1p-300);
    constexpr Real least_left = sizeof(Real) == 4 ? Real(0x1p-40f) : Real(0x1p-500);
    const bool full = hn::AllTrue(D(), hn::Ge(hn::Mul(fewest, hn::Set(D(), walk.factor)), hn::Set(D(), refilled)));
    walk.since_full = full ? Real(1) : walk.since_full * scale;
    walk.kept &= walk.since_full >= least_left && (full || walk.left > 1);
    walk.scale = scale;
    walk.factor = 1 / scale;
    std::swap(walk.state, walk.next);
    output_.step(D(), walk, scale);
    ++walk.row;
    --walk.left;
    return scale >= smallest_ordinary && scale <= std::numeric_limits<Real>::max();
  }

  // A state of a small sum is scaled at once: products of what is smaller still would lose digits.
  HWY_NOINLINE void settle(Walk<Real>& walk) {
    if (!possible(walk.scale)) {
      output_.impossible(walk);
      walk.left = 0;
    } else if (walk.scale < smallest_ordinary) {
      for (Index k = 0; k < b_.cols; ++k) walk.state[k] *= walk.factor;
      walk.factor = 1;
    }
  }

  static constexpr Real smallest_ordinary = sizeof(Real) == 4 ? Real(0x1p-24f) : Real(0x1p-256);
  const AlignedRows<Real>& weights_;
  MatrixView<const Real> b_;
  Output& output_;
};

template <class Real>
struct Filtered {
  const AlignedRows<Real>& start_row;
  std::span<const ChainPiece> pieces;
  MatrixView<Real> alpha;
  double* scales;
  bool* kept;  // (pieces) or null
  Index first_impossible = -1;

  const Real* start(Walk<Real>& walk) const {
    const ChainPiece& piece = pieces[static_cast<std::size_t>(walk.number)];
    walk.row = piece.first;
    walk.left = piece.steps;
    if (!piece.incoming) return start_row.row(0);
    for (Index k = 0; k < alpha.cols; ++k) walk.state[k] = static_cast<Real>(linear_of_message(piece.incoming[k]));
    return nullptr;
  }
  template <class D>
  HWY_INLINE void step(D d, const Walk<Real>& walk, Real scale) const {
    const Index K = alpha.cols;
    Real* const row = alpha.row(walk.row);
    const auto factor = hn::Set(d, walk.factor);
    for (Index k = 0; k < K; k += lanes_of(d))
      store_part(d, hn::Mul(hn::Load(d, walk.state + k), factor), row + k, K - k);
    scales[walk.row] = static_cast<double>(scale);
  }
  void impossible(const Walk<Real>& walk) {
    const Index first = walk.row - 1;
    if (first_impossible < 0 || first < first_impossible) first_impossible = first;
    for (Index t = first; t < walk.row + walk.left; ++t) {
      std::fill_n(alpha.row(t), alpha.cols, Real(0));
      scales[t] = 0;
    }
  }
  void finish(const Walk<Real>& walk) const {
    if (kept) kept[walk.number] = walk.kept;
  }
};

// Begins with each state in turn and keeps the last distribution alone.
template <class Real>
struct Composed {
  Index steps;
  MatrixView<double> product;
  LogProduct* probabilities;  // (K)

  const Real* start(Walk<Real>& walk) const {
    walk.row = 0;
    walk.left = steps;
    std::fill_n(walk.state, product.cols, Real(0));
    walk.state[walk.number] = 1;
    return nullptr;
  }
  template <class D>
  HWY_INLINE void step(D, const Walk<Real>& walk, Real scale) const {
    probabilities[walk.number].multiply(static_cast<double>(scale));
  }
  void impossible(Walk<Real>& walk) const {
    probabilities[walk.number] = LogProduct();
    probabilities[walk.number].multiply(0);
    std::fill_n(walk.state, product.cols, Real(0));
    walk.factor = 1;
  }
  void finish(Walk<Real>& walk) const {
    if (!walk.kept) impossible(walk);
    for (Index k = 0; k < product.cols; ++k) product(walk.number, k) = static_cast<double>(walk.state[k] * walk.factor);
  }
};

// Runs over a piece's steps from the last to the first, u_t = b_t o beta_t = (A u_{t+1}) o b_t, and keeps the last u alone.
template <class Real>
struct Returned {
  Index steps, states;
  const AlignedRows<Real>& after;  // beta of the last step
  Real* first;
  bool possible = true;

  const Real* start(Walk<Real>& walk) const {
    walk.row = 0;
    walk.left = steps;
    return after.row(0);
  }
  template <class D>
  HWY_INLINE void step(D, const Walk<Real>&, Real) const {}
  void impossible(const Walk<Real>&) { possible = false; }
  void finish(const Walk<Real>& walk) const { std::copy_n(walk.state, states, first); }
};

// Processors foresee the reads of several pieces badly where rows come in reverse.
constexpr Index prefetched_rows = 4;

template <class Shape, class D>
class Backward {
 public:
  using Real = Value<D>;

  Backward(const AlignedRows<Real>& weights, std::span<const ChainPiece> pieces, MatrixView<Real> b,
           MatrixView<const Real> alpha, const double* scales, MatrixView<Real> gamma, std::vector<Index>& beyond)
      : weights_(weights), pieces_(pieces), b_(b), alpha_(alpha), scales_(scales), gamma_(gamma), beyond_(beyond) {}

  void start(Walk<Real>& walk) {
    const ChainPiece& piece = pieces_[static_cast<std::size_t>(walk.number)];
    const Index K = b_.cols;
    walk.row = piece.first + piece.steps - 1;
    walk.left = piece.steps;
    walk.factor = 1;
    if (piece.steps == 0) return;
    const Real* last = alpha_.row(walk.row);
    const auto after = [&](Index k) { return piece.outgoing ? bound_of_message(piece.outgoing[k]) : 1.0; };
    double overlap = 0;
    for (Index k = 0; k < K; ++k) overlap += static_cast<double>(last[k]) * after(k);
    if (scales_[walk.row] == 0 || !possible(overlap)) return leave(walk);
    constexpr double largest = std::numeric_limits<Real>::max();
    for (Index k = 0; k < K; ++k) walk.state[k] = static_cast<Real>(std::min(after(k) / overlap, largest));
    Products<1> products(*this, &walk);
    for (Index column = 0; column < weights_.width(); column += lanes_of(D()))
      products(0, column, hn::Load(D(), walk.state + column));
    conclude(walk, products.worst[0]);
  }

  template <int pieces>
  void run(Walk<Real>* walks, Index steps) {
    for (; steps > 0; --steps) {
      Products<pieces> products(*this, walks);
      const Real* states[pieces];
      for (int p = 0; p < pieces; ++p) states[p] = walks[p].state;
      multiply<Shape::parts, pieces>(D(), weights_, b_.cols, states, products);
      bool ordinary = true;
      for (int p = 0; p < pieces; ++p) ordinary &= conclude(walks[p], products.worst[p]);
      if (!ordinary) return;
    }
  }

  void finish(const Walk<Real>& walk) const {
    const ChainPiece& piece = pieces_[static_cast<std::size_t>(walk.number)];
    if (piece.steps > 0 && !piece.incoming) std::fill_n(b_.row(piece.first), b_.cols, Real(0));
  }

 private:
  // Receives beta_t, writes gamma_t and w_t.
  template <int pieces>
  struct Products {
    Index K;
    const Real* alpha[pieces];
    Real *b[pieces], *gamma[pieces], *next[pieces];
    const Real *soon_alpha[pieces], *soon_b[pieces], *soon_gamma[pieces];
    hn::Vec<D> factors[pieces], worst[pieces];

    HWY_INLINE Products(const Backward& backward, const Walk<Real>* walks) : K(backward.b_.cols) {
      for (int p = 0; p < pieces; ++p) {
        const Index row = walks[p].row;
        alpha[p] = backward.alpha_.row(row);
        b[p] = backward.b_.row(row);
        gamma[p] = backward.gamma_.row(row);
        const Index soon = std::max<Index>(row - prefetched_rows, 0);
        soon_alpha[p] = backward.alpha_.row(soon);
        soon_b[p] = backward.b_.row(soon);
        soon_gamma[p] = backward.gamma_.row(soon);
        next[p] = walks[p].next;
        factors[p] = hn::Set(D(), walks[p].factor / static_cast<Real>(backward.scales_[row]));
        worst[p] = hn::Zero(D());
      }
    }
    HWY_INLINE void operator()(int p, Index column, hn::Vec<D> beta) {
      const D d;
      const Index count = K - column;
      hwy::Prefetch(soon_alpha[p] + column);
      hwy::Prefetch(soon_b[p] + column);
      hwy::Prefetch(soon_gamma[p] + column);
      const auto at = load_part(d, alpha[p] + column, count);
      const auto onwards = hn::Mul(beta, factors[p]), least = hn::Set(d, ChainRange<Real>::smallest);
      const auto w = hn::Max(hn::Mul(hn::Max(load_part(d, b[p] + column, count), least), onwards), least);
      worst[p] = hn::Max(worst[p], onwards);
      store_part(d, hn::Mul(at, beta), gamma[p] + column, count);
      store_part(d, w, b[p] + column, count);
      hn::Store(w, d, next[p] + column);
    }
  };

  // A piece that is not to be had in this way.
  HWY_NOINLINE void leave(Walk<Real>& walk) {
    const ChainPiece& piece = pieces_[static_cast<std::size_t>(walk.number)];
    for (Index t = piece.first; t < piece.first + piece.steps; ++t) {
      std::fill_n(gamma_.row(t), b_.cols, Real(0));
      std::fill_n(b_.row(t), b_.cols, Real(0));
    }
    beyond_.push_back(walk.number);
    walk.left = 0;
  }

  // Whether the walk goes on. Rounding would let the sums of gamma drift from 1: now and then the next step is told to
  // correct it.
  HWY_INLINE bool conclude(Walk<Real>& walk, hn::Vec<D> worst) {
    constexpr Index correction_steps = 16;
    if (!hn::AllTrue(D(), hn::Le(worst, hn::Set(D(), ChainRange<Real>::farthest)))) {
      leave(walk);
      return false;
    }
    std::swap(walk.state, walk.next);
    walk.factor = 1;
    if (walk.left % correction_steps == 0) {
      const D d;
      const Index K = b_.cols;
      auto sums = hn::Zero(d);
      for (Index k = 0; k < K; k += lanes_of(d)) sums = hn::Add(sums, load_part(d, gamma_.row(walk.row) + k, K - k));
      const Real sum = hn::GetLane(hn::SumOfLanes(d, sums));
      constexpr Real rounding = ChainRange<Real>::rounding;
      if (!(sum > 1 - rounding && sum < 1 + rounding)) {
        leave(walk);
        return false;
      }
      walk.factor = 1 / sum;
    }
    --walk.row;
    --walk.left;
    return true;
  }

  const AlignedRows<Real>& weights_;
  std::span<const ChainPiece> pieces_;
  MatrixView<Real> b_;
  MatrixView<const Real> alpha_;
  const double* scales_;
  MatrixView<Real> gamma_;
  std::vector<Index>& beyond_;
};

// Calls body(shape, d, width) with the widest vector that K states fill at least half, and rows of whole vectors.
template <class Real, size_t max_lanes = HWY_LANES(Real), class Body>
HWY_INLINE void with_shape(Index K, const Body& body) {
  const hn::CappedTag<Real, max_lanes> d;
  const Index n = lanes_of(d);
  if constexpr (max_lanes > 1) {
    if (K <= n / 2) return with_shape<Real, max_lanes / 2>(K, body);
  }
  const Index width = (K + n - 1) / n * n;
  if (width == n) return body(Shape<2, held_sums / 2>(), d, width);
  if constexpr (max_lanes == HWY_LANES(Real)) {
    constexpr int group = std::min(4, held_sums / 2);
    if (width <= 4 * n) return body(Shape<2, group>(), d, width);
    body(Shape<1, group>(), d, width);
  }
}

template <class Real>
Index chain_forward(const ChainWeights<Real>& weights, std::span<const ChainPiece> pieces, MatrixView<const Real> b,
                    MatrixView<Real> alpha, double* scales, bool* kept) {
  Index impossible = -1;
  with_shape<Real>(weights.states, [&]<class S, class D>(S, D, Index width) HWY_ATTR {
    const Index K = weights.states;
    const AlignedRows<Real> start(weights.start, 1, K, width), transitions(weights.transitions, K, K, width, 1);
    Filtered<Real> filtered{start, pieces, alpha, scales, kept};
    Forward<S, D, Filtered<Real>> forward(transitions, b, filtered);
    walk_all<S::group>(forward, static_cast<Index>(pieces.size()), width);
    impossible = filtered.first_impossible;
  });
  return impossible;
}

template <class Real>
void chain_backward(const ChainWeights<Real>& weights, std::span<const ChainPiece> pieces, MatrixView<Real> b,
                    MatrixView<const Real> alpha, const double* scales, MatrixView<Real> gamma,
                    std::vector<Index>& beyond) {
  beyond.clear();
  with_shape<Real>(weights.states, [&]<class S, class D>(S, D, Index width) HWY_ATTR {
    const AlignedRows<Real> transposed(weights.transposed, weights.states, weights.states, width);
    Backward<S, D> backward(transposed, pieces, b, alpha, scales, gamma, beyond);
    walk_all<S::group>(backward, static_cast<Index>(pieces.size()), width);
  });
  std::sort(beyond.begin(), beyond.end());
}

template <class Real>
void chain_compose(const ChainWeights<Real>& weights, MatrixView<const Real> b, MatrixView<double> product,
                   double* log_scales) {
  with_shape<Real>(weights.states, [&]<class S, class D>(S, D, Index width) HWY_ATTR {
    const Index K = weights.states;
    const AlignedRows<Real> transitions(weights.transitions, K, K, width, 1);
    std::vector<LogProduct> probabilities(static_cast<std::size_t>(K));
    Composed<Real> composed{b.rows, product, probabilities.data()};
    Forward<S, D, Composed<Real>> forward(transitions, b, composed);
    walk_all<S::group>(forward, K, width);
    for (Index i = 0; i < K; ++i) log_scales[i] = probabilities[static_cast<std::size_t>(i)].log();
  });
}

template <class Real>
bool chain_likelihood(const ChainWeights<Real>& weights, MatrixView<const Real> b, const double* outgoing, Real* first) {
  bool possible = false;
  with_shape<Real>(weights.states, [&]<class S, class D>(S, D, Index width) HWY_ATTR {
    const Index K = weights.states;
    const AlignedRows<Real> transposed(weights.transposed, K, K, width, 1), after(1, width);
    const double largest = outgoing ? *std::max_element(outgoing, outgoing + K) : 1;
    for (Index k = 0; k < K; ++k)
      after.row(0)[k] = outgoing ? static_cast<Real>(linear_of_message(outgoing[k]) / largest) : Real(1);
    Returned<Real> returned{b.rows, K, after, first};
    const MatrixView<const Real> reversed(b.row(b.rows - 1), b.rows, K, -b.stride);
    Forward<S, D, Returned<Real>> forward(transposed, reversed, returned);
    walk_all<1>(forward, 1, width);
    possible = returned.possible;
  });
  return possible;
}

template <class Real>
const ChainTable<Real>* chain_kernels() {
  static constexpr ChainTable<Real> table{scale_emissions<Real>, chain_forward<Real>, chain_backward<Real>,
                                          chain_compose<Real>, chain_likelihood<Real>};
  return &table;
}

const ChainTable<float>* float_chain() {
  return chain_kernels<float>();
}
const ChainTable<double>* double_chain() {
  return chain_kernels<double>();
}

}  // namespace HWY_NAMESPACE
}  // namespace tally::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tally::cpu {

HWY_EXPORT(float_chain);
HWY_EXPORT(double_chain);

template <class Real>
const ChainTable<Real>& chain_of_processor() {
  if constexpr (std::is_same_v<Real, float>) {
    return *HWY_DYNAMIC_DISPATCH(float_chain)();
  } else {
    return *HWY_DYNAMIC_DISPATCH(double_chain)();
  }
}

template <class Real>
void scale_emissions(MatrixView<Real> logits, double* maxima) {
  chain_of_processor<Real>().scale_emissions(logits, maxima);
}

template <class Real>
Index chain_forward(const ChainWeights<Real>& weights, std::span<const ChainPiece> pieces, MatrixView<const Real> b,
                    MatrixView<Real> alpha, double* scales, bool* kept) {
  return chain_of_processor<Real>().forward(weights, pieces, b, alpha, scales, kept);
}

template <class Real>
void chain_backward(const ChainWeights<Real>& weights, std::span<const ChainPiece> pieces, MatrixView<Real> b,
                    MatrixView<const Real> alpha, const double* scales, MatrixView<Real> gamma,
                    std::vector<Index>& beyond) {
  chain_of_processor<Real>().backward(weights, pieces, b, alpha, scales, gamma, beyond);
}

template <class Real>
void chain_compose(const ChainWeights<Real>& weights, MatrixView<const Real> b, MatrixView<double> product,
                   double* log_scales) {
  chain_of_processor<Real>().compose(weights, b, product, log_scales);
}

template <class Real>
bool chain_likelihood(const ChainWeights<Real>& weights, MatrixView<const Real> b, const double* outgoing, Real* first) {
  return chain_of_processor<Real>().likelihood(weights, b, outgoing, first);
}

template <class Real>
bool states_mix(const ChainWeights<Real>& weights) {
  return std::all_of(weights.transitions, weights.transitions + weights.states * weights.states,
                     [](Real probability) { return probability >= ChainRange<Real>::mixing; });
}

#define TALLY_INSTANTIATE(Real)                                                                                          \
  template void scale_emissions(MatrixView<Real>, double*);                                                              \
  template Index chain_forward(const ChainWeights<Real>&, std::span<const ChainPiece>, MatrixView<const Real>,           \
                               MatrixView<Real>, double*, bool*);                                                        \
  template void chain_backward(const ChainWeights<Real>&, std::span<const ChainPiece>, MatrixView<Real>,                 \
                               MatrixView<const Real>, const double*, MatrixView<Real>, std::vector<Index>&);            \
  template void chain_compose(const ChainWeights<Real>&, MatrixView<const Real>, MatrixView<double>, double*);           \
  template bool chain_likelihood(const ChainWeights<Real>&, MatrixView<const Real>, const double*, Real*);               \
  template bool states_mix(const ChainWeights<Real>&);
TALLY_INSTANTIATE(float)
TALLY_INSTANTIATE(double)
#undef TALLY_INSTANTIATE

}  // namespace tally::cpu
#endif
