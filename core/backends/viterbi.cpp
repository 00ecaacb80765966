#include <algorithm>
#include <type_traits>
#include <utility>

#include "core/backends/vector_targets.hpp"
#include "core/backends/chain.hpp"
#include "hwy/aligned_allocator.h"

// Highway compiles what lies between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE once per instruction set,
// by including this file again.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/backends/viterbi.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "core/backends/vectors-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace tally::cpu {
namespace HWY_NAMESPACE {

// The largest of the sums so far and the state it came from.
template <class D>
struct Best {
  hn::Vec<D> value, state;

  HWY_INLINE void consider(hn::Vec<D> candidate, hn::Vec<D> candidate_state) {
    const auto better = hn::Gt(candidate, value);
    value = hn::IfThenElse(better, candidate, value);
    state = hn::IfThenElse(better, candidate_state, state);
  }
};

// take(column, best) for some `vectors` vectors of columns. The two halves of the states before are searched at once, to
// hide the latency of comparisons.
template <int vectors, class D, class Take>
HWY_INLINE void search_strip(D d, const double* transitions, Index K, Index width, const double* delta, Index column,
                             const Take& take) {
  const Index n = lanes_of(d), half = K / 2;
  Best<D> low[vectors], high[vectors];
  const auto consider = [&](Best<D>* best, Index i) HWY_ATTR {
    const auto before = hn::Set(d, delta[i]), state = hn::Set(d, static_cast<double>(i));
    for (int v = 0; v < vectors; ++v)
      best[v].consider(hn::Add(before, hn::Load(d, transitions + i * width + column + v * n)), state);
  };
  for (int v = 0; v < vectors; ++v) {
    low[v] = {hn::Set(d, -infinity<double>), hn::Zero(d)};
    high[v] = low[v];
  }
  for (Index i = 0; i < half; ++i) {
    consider(low, i);
    consider(high, half + i);
  }
  if (2 * half < K) consider(high, K - 1);
  for (int v = 0; v < vectors; ++v) {
    low[v].consider(high[v].value, high[v].state);
    take(column + v * n, low[v]);
  }
}

template <int vectors = 4, class D, class Take>
HWY_INLINE void search(D d, const double* transitions, Index K, Index width, const double* delta, const Take& take,
                       Index column = 0) {
  const Index strip = vectors * lanes_of(d);
  for (; column + strip <= width; column += strip)
    search_strip<vectors>(d, transitions, K, width, delta, column, take);
  if constexpr (vectors > 1) {
    if (column < width) search<vectors / 2>(d, transitions, K, width, delta, take, column);
  }
}

// Takes the widest vector that the states fill at least half.
template <size_t max_lanes, class Real>
void viterbi_within(const LogChainWeights& weights, MatrixView<const Real> log_b, bool begins, double* delta,
                    MatrixView<BackPointer> from) {
  using D = hn::CappedTag<double, max_lanes>;
  const D d;
  const Index K = weights.states, n = lanes_of(d);
  if constexpr (max_lanes > 1) {
    if (K <= n / 2) return viterbi_within<max_lanes / 2>(weights, log_b, begins, delta, from);
  }
  const Index width = (K + n - 1) / n * n;
  const auto memory = hwy::AllocateAligned<double>(static_cast<std::size_t>((K + 2) * width));
  std::fill_n(memory.get(), (K + 2) * width, -infinity<double>);
  double* before = memory.get();
  double* now = before + width;
  double* const transitions = now + width;
  for (Index i = 0; i < K; ++i) std::copy_n(weights.transitions + i * K, K, transitions + i * width);
  std::copy_n(begins ? weights.start : delta, K, before);
  Index t = 0;
  if (begins && log_b.rows > 0) {
    for (Index j = 0; j < K; ++j) before[j] += static_cast<double>(log_b(0, j));
    if (from.data) std::fill_n(from.row(0), K, BackPointer(0));
    ++t;
  }
  const hn::Rebind<std::int32_t, D> d_state;
  const hn::Rebind<BackPointer, D> d_pointer;
  for (; t < log_b.rows; ++t) {
    const Real* row = log_b.row(t);
    BackPointer* pointers = from.data ? from.row(t) : nullptr;
    search(d, transitions, K, width, before, [&](Index column, const Best<D>& best) HWY_ATTR {
      const Index count = K - column;
      hn::Store(hn::Add(best.value, load_as_double(d, row + column, count)), d, now + column);
      if (pointers)
        store_part(d_pointer, hn::DemoteTo(d_pointer, hn::DemoteTo(d_state, best.state)), pointers + column, count);
    });
    std::swap(before, now);
  }
  std::copy_n(before, K, delta);
}

void float_viterbi(const LogChainWeights& weights, MatrixView<const float> log_b, bool begins, double* delta,
                   MatrixView<BackPointer> from) {
  viterbi_within<HWY_LANES(double)>(weights, log_b, begins, delta, from);
}
void double_viterbi(const LogChainWeights& weights, MatrixView<const double> log_b, bool begins, double* delta,
                    MatrixView<BackPointer> from) {
  viterbi_within<HWY_LANES(double)>(weights, log_b, begins, delta, from);
}

}  // namespace HWY_NAMESPACE
}  // namespace tally::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tally::cpu {

HWY_EXPORT(float_viterbi);
HWY_EXPORT(double_viterbi);

template <class Real>
void chain_viterbi(const LogChainWeights& weights, MatrixView<const Real> log_b, bool begins, double* delta,
                   MatrixView<BackPointer> from) {
  if constexpr (std::is_same_v<Real, float>) {
    HWY_DYNAMIC_DISPATCH(float_viterbi)(weights, log_b, begins, delta, from);
  } else {
    HWY_DYNAMIC_DISPATCH(double_viterbi)(weights, log_b, begins, delta, from);
  }
}

template void chain_viterbi(const LogChainWeights&, MatrixView<const float>, bool, double*, MatrixView<BackPointer>);
template void chain_viterbi(const LogChainWeights&, MatrixView<const double>, bool, double*, MatrixView<BackPointer>);

Index chain_backtrack(MatrixView<const BackPointer> from, Index last, std::int32_t* path) {
  for (Index t = from.rows - 1; t >= 0; --t) {
    path[t] = static_cast<std::int32_t>(last);
    last = from(t, last);
  }
  return last;
}

}  // namespace tally::cpu
#endif
