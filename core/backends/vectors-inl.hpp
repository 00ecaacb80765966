// What the kernels of this folder share. Included by a source that Highway compiles once per instruction set (see
// hwy/foreach_target.h), and so once more for each.
#if defined(TALLY_VECTORS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef TALLY_VECTORS_INL
#undef TALLY_VECTORS_INL
#else
#define TALLY_VECTORS_INL
#endif

#include <algorithm>

#include "core/view.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tally::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
using Value = hn::TFromD<D>;

template <class Real>
constexpr Real infinity = std::numeric_limits<Real>::infinity();

template <class D>
HWY_INLINE Index lanes_of(D d) {
  return static_cast<Index>(hn::Lanes(d));
}

// The first min(count, lanes) elements of `from`; `fill` in the other lanes. Touches no memory beyond
// `count`.
template <class D>
HWY_INLINE hn::Vec<D> load_part(D d, const Value<D>* from, Index count, Value<D> fill = 0) {
  if (count >= lanes_of(d)) return hn::LoadU(d, from);
  const auto used = hn::FirstN(d, static_cast<size_t>(count));
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN Value<D> copy[hn::MaxLanes(D())] = {};
  std::copy_n(from, count, copy);
  return hn::IfThenElse(used, hn::Load(d, copy), hn::Set(d, fill));
#else
  return hn::IfThenElse(used, hn::MaskedLoad(used, d, from), hn::Set(d, fill));
#endif
}

// Stores the first min(count, lanes) lanes.
template <class D>
HWY_INLINE void store_part(D d, hn::Vec<D> v, Value<D>* to, Index count) {
  if (count >= lanes_of(d)) return hn::StoreU(v, d, to);
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN Value<D> copy[hn::MaxLanes(D())];
  hn::Store(v, d, copy);
  std::copy_n(copy, count, to);
#else
  hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(count)), d, to);
#endif
}

// Loads and stores of double lanes that convert from and to Real.
template <class D>
HWY_INLINE hn::Vec<D> load_as_double(D d, const double* from, Index count) {
  return load_part(d, from, count);
}
template <class D>
HWY_INLINE hn::Vec<D> load_as_double(D d, const float* from, Index count) {
  return hn::PromoteTo(d, load_part(hn::Rebind<float, D>(), from, count));
}
template <class D>
HWY_INLINE void store_double_as(D d, hn::Vec<D> v, double* to, Index count) {
  store_part(d, v, to, count);
}
template <class D>
HWY_INLINE void store_double_as(D, hn::Vec<D> v, float* to, Index count) {
  const hn::Rebind<float, D> d_float;
  store_part(d_float, hn::DemoteTo(d_float, v), to, count);
}

// Sums term(j) over j < count, always in the same order. Four partial sums hide the latency of additions.
template <class D, class Term>
HWY_INLINE double sum_in_double(D d, Index count, const Term& term) {
  const Index n = lanes_of(d);
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d), sum2 = hn::Zero(d), sum3 = hn::Zero(d);
  Index j = 0;
  for (; j + 4 * n <= count; j += 4 * n) {
    sum0 = term.add_to(sum0, j, n);
    sum1 = term.add_to(sum1, j + n, n);
    sum2 = term.add_to(sum2, j + 2 * n, n);
    sum3 = term.add_to(sum3, j + 3 * n, n);
  }
  for (; j < count; j += n) sum0 = term.add_to(sum0, j, count - j);
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
}

using DoubleLanes = hn::ScalableTag<double>;
using DoubleVector = hn::Vec<DoubleLanes>;

template <class Real>
struct Squares {
  const Real* x;
  HWY_INLINE DoubleVector add_to(DoubleVector sum, Index j, Index count) const {
    const auto v = load_as_double(DoubleLanes(), x + j, count);
    return hn::MulAdd(v, v, sum);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace tally::cpu
HWY_AFTER_NAMESPACE();

#endif
