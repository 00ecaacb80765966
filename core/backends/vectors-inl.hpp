// What the kernels of this folder share. Included by a source that Highway compiles once per instruction set (see
// hwy/foreach_target.h), and so once more for each.
#if defined(TALLY_VECTORS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef TALLY_VECTORS_INL
#undef TALLY_VECTORS_INL
#else
#define TALLY_VECTORS_INL
#endif

#include <algorithm>
#include <limits>

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

// exp(x) = 2^n (1 + r + r^2 q(r)) with n = round(x / log 2), r = x - n log 2 and q a Chebyshev fit on |r|
// <= 0.34675 (relative error of the sum below 2^-55 and 2^-26). `round_and_bias` rounds by pushing the
// fraction out of the significand and leaves n + bias in its low bits. `limit` is ln 2^-1008 and ln 2^-112:
// what is smaller counts as 0, far above the subnormals, so that dividing by a sum of up to 2^14 terms
// cannot make any.
template <class Real>
struct Exponential;

template <>
struct Exponential<double> {
  static constexpr double limit = -698.69, inverse_log2 = 0x1.71547652b82fep0;
  static constexpr double round_and_bias = 0x1.8p52 + 1023.0;
  static constexpr double log2_high = 0x1.62e42feep-1, log2_low = 0x1.a39ef35793c76p-33;
  static constexpr int fraction_bits = 52;
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V q(D d, V r) {
    const V r2 = hn::Mul(r, r);
    V even = hn::MulAdd(hn::Set(d, 0x1.2891a98de7fcbp-22), r2, hn::Set(d, 0x1.a019b8eebc08ap-16));
    V odd = hn::MulAdd(hn::Set(d, 0x1.af38d6336c037p-26), r2, hn::Set(d, 0x1.71de0d9baab4ap-19));
    even = hn::MulAdd(even, r2, hn::Set(d, 0x1.6c16c17893af7p-10));
    odd = hn::MulAdd(odd, r2, hn::Set(d, 0x1.a01a01a7c8efbp-13));
    even = hn::MulAdd(even, r2, hn::Set(d, 0x1.5555555553d4fp-5));
    odd = hn::MulAdd(odd, r2, hn::Set(d, 0x1.11111111109adp-7));
    even = hn::MulAdd(even, r2, hn::Set(d, 0x1.0000000000001p-1));
    odd = hn::MulAdd(odd, r2, hn::Set(d, 0x1.5555555555556p-3));
    return hn::MulAdd(odd, r, even);
  }
};

template <>
struct Exponential<float> {
  static constexpr float limit = -77.63f, inverse_log2 = 0x1.715476p0f;
  static constexpr float round_and_bias = 0x1.8p23f + 127.0f;
  static constexpr float log2_high = 0x1.62e4p-1f, log2_low = 0x1.7f7d1cp-20f;
  static constexpr int fraction_bits = 23;
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V q(D d, V r) {
    V sum = hn::MulAdd(hn::Set(d, 0x1.6d113ep-10f), r, hn::Set(d, 0x1.120ba2p-7f));
    sum = hn::MulAdd(sum, r, hn::Set(d, 0x1.55551ap-5f));
    sum = hn::MulAdd(sum, r, hn::Set(d, 0x1.5554dcp-3f));
    return hn::MulAdd(sum, r, hn::Set(d, 0.5f));
  }
};

// exp(x) for x <= 0, within an ulp; 0 below the limit and for -inf. A NaN stays one: Highway's own Exp
// makes it 0.
template <class D>
HWY_INLINE hn::Vec<D> exp_of_nonpositive(D d, hn::Vec<D> x) {
  using E = Exponential<Value<D>>;
  const hn::RebindToUnsigned<D> d_bits;
  const auto magic = hn::Set(d, E::round_and_bias);
  const auto rounded = hn::MulAdd(x, hn::Set(d, E::inverse_log2), magic);
  const auto n = hn::Sub(rounded, magic);
  const auto r = hn::NegMulAdd(n, hn::Set(d, E::log2_low), hn::NegMulAdd(n, hn::Set(d, E::log2_high), x));
  const auto power = hn::BitCast(d, hn::ShiftLeft<E::fraction_bits>(hn::BitCast(d_bits, rounded)));
  const auto exp_minus_one = hn::MulAdd(hn::Mul(r, r), E::q(d, r), r);
  const auto result = hn::MulAdd(power, exp_minus_one, power);
  return hn::IfThenElse(hn::Lt(x, hn::Set(d, E::limit)), hn::Zero(d), result);
}

// Highway's emulated maximum starts from the lowest finite number and so misses -inf.
template <class D>
HWY_INLINE Value<D> largest_lane(D d, hn::Vec<D> v) {
  const Value<D> largest = hn::GetLane(hn::MaxOfLanes(d, v));
  if (largest != std::numeric_limits<Value<D>>::lowest()) return largest;
  const auto impossible = hn::Set(d, -infinity<Value<D>>);
  return hn::AllTrue(d, hn::Eq(v, impossible)) ? -infinity<Value<D>> : largest;
}

}  // namespace HWY_NAMESPACE
}  // namespace tally::cpu
HWY_AFTER_NAMESPACE();

#endif
