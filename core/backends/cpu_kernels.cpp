#include "core/backends/cpu_kernels.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

// Highway compiles what lies between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE once per instruction set,
// by including this file again.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/backends/cpu_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "core/backends/vectors-inl.hpp"

#ifndef TALLY_CPU_KERNEL_TABLE
#define TALLY_CPU_KERNEL_TABLE
namespace tally::cpu {

// The kernels of one instruction set.
template <class Real>
struct KernelTable {
  void (*quadratic_features)(MatrixView<const Real>, MatrixView<Real>);
  void (*quadratic_features_from)(Index, MatrixView<const Real>, MatrixView<Real>);
  void (*square_features)(MatrixView<const Real>, MatrixView<Real>);
  void (*norm_features)(MatrixView<const Real>, MatrixView<Real>);
  void (*linear_features)(MatrixView<const Real>, MatrixView<Real>);
  void (*indicator_features)(MatrixView<const Real>, MatrixView<Real>);
  double (*softmax_rows)(MatrixView<Real>, const RowTerms&);
  double (*argmax_rows)(MatrixView<Real>, const RowTerms&, std::int32_t*);
  void (*standardise_rows)(MatrixView<const double>, const double*, const double*, MatrixView<Real>);
};

// A row of weight zero is no row: it adds nothing even where it is impossible (0 * -inf would be NaN).
inline double weighted(double weight, double objective) {
  const bool impossible = objective == -std::numeric_limits<double>::infinity();
  return weight == 0.0 && impossible ? 0.0 : weight * objective;
}

}  // namespace tally::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace tally::cpu {
namespace HWY_NAMESPACE {

template <class Real>
HWY_INLINE void write_one_and_copy(const Real* x, Index count, Real* out) {
  out[0] = 1;
  std::copy_n(x, count, out + 1);
}

// One row of monomials for dims >= lanes. The products x_a x_b with b >= a end where those of a + 1 begin,
// so the last vector of each run is aligned to the run's end. A run shorter than a vector then spills to
// the left, over products that are written after it; that is why the short runs come first, last one first.
template <class D, class Real>
HWY_INLINE void quadratic_row(D d, const Real* x, Index dims, Real* out) {
  const Index n = lanes_of(d);
  const auto last = hn::LoadU(d, x + dims - n);
  Real* end = out + 1 + dims + dims * (dims + 1) / 2;
  Index a = dims - 1;
  for (; a > dims - n; --a) {
    hn::StoreU(hn::Mul(hn::Set(d, x[a]), last), d, end - n);
    end -= dims - a;
  }
  Real* run = out + 1 + dims;
  for (Index first = 0; first <= a; ++first) {
    const auto factor = hn::Set(d, x[first]);
    const Index length = dims - first;
    for (Index j = 0; j + n <= length; j += n) {
      hn::StoreU(hn::Mul(factor, hn::LoadU(d, x + first + j)), d, run + j);
    }
    run += length;
    hn::StoreU(hn::Mul(factor, last), d, run - n);
  }
  write_one_and_copy(x, dims, out);
}

// Takes the widest vector that a row fills.
template <size_t max_lanes, class Real>
void quadratic_features_within(MatrixView<const Real> x, MatrixView<Real> out) {
  const hn::CappedTag<Real, max_lanes> d;
  if constexpr (max_lanes > 1) {
    if (lanes_of(d) > x.cols) return quadratic_features_within<max_lanes / 2>(x, out);
  }
  for (Index i = 0; i < x.rows; ++i) quadratic_row(d, x.row(i), x.cols, out.row(i));
}

template <class Real>
void quadratic_features(MatrixView<const Real> x, MatrixView<Real> out) {
  quadratic_features_within<HWY_LANES(Real)>(x, out);
}

// out[j] = factor x[j], j < count.
template <class D, class Real>
HWY_INLINE void write_multiples(D d, Real factor, const Real* x, Index count, Real* out) {
  const auto factors = hn::Set(d, factor);
  for (Index j = 0; j < count; j += lanes_of(d)) store_part(d, hn::Mul(factors, load_part(d, x + j, count - j)), out + j, count - j);
}

template <class Real>
void quadratic_features_from(Index first, MatrixView<const Real> x, MatrixView<Real> out) {
  const hn::ScalableTag<Real> d;
  const Index D = x.cols, end = first + out.cols;
  // The first product is in the run of x_a, with x_(a + skipped).
  Index a = 0, skipped = std::max<Index>(0, first - (1 + D));
  for (; a < D && skipped >= D - a; ++a) skipped -= D - a;
  for (Index i = 0; i < x.rows; ++i) {
    const Real* row = x.row(i);
    Real* to = out.row(i);
    Index j = first;
    if (j == 0 && j < end) to[j++] = 1;
    if (j > 0 && j <= D) {
      const Index count = std::min(end, 1 + D) - j;
      std::copy_n(row + j - 1, count, to + j - first);
      j += count;
    }
    for (Index left = a, right = a + skipped; j < end; right = ++left) {
      const Index count = std::min(D - right, end - j);
      write_multiples(d, row[left], row + right, count, to + j - first);
      j += count;
    }
  }
}

template <class Real>
void square_features(MatrixView<const Real> x, MatrixView<Real> out) {
  const hn::ScalableTag<Real> d;
  for (Index i = 0; i < x.rows; ++i) {
    const Real* from = x.row(i);
    Real* values = out.row(i) + 1;
    Real* squares = values + x.cols;
    out(i, 0) = 1;
    for (Index j = 0; j < x.cols; j += lanes_of(d)) {
      const auto v = load_part(d, from + j, x.cols - j);
      store_part(d, v, values + j, x.cols - j);
      store_part(d, hn::Mul(v, v), squares + j, x.cols - j);
    }
  }
}

template <class Real>
void norm_features(MatrixView<const Real> x, MatrixView<Real> out) {
  for (Index i = 0; i < x.rows; ++i) {
    write_one_and_copy(x.row(i), x.cols, out.row(i));
    out(i, 1 + x.cols) = static_cast<Real>(sum_in_double(DoubleLanes(), x.cols, Squares<Real>{x.row(i)}));
  }
}

template <class Real>
void linear_features(MatrixView<const Real> x, MatrixView<Real> out) {
  for (Index i = 0; i < x.rows; ++i) write_one_and_copy(x.row(i), x.cols, out.row(i));
}

template <class Real>
void indicator_features(MatrixView<const Real> x, MatrixView<Real> out) {
  const hn::ScalableTag<Real> d;
  for (Index i = 0; i < x.rows; ++i) {
    const Real* from = x.row(i);
    Real* values = out.row(i) + 1;
    Real* complements = values + x.cols;
    out(i, 0) = 1;
    for (Index j = 0; j < x.cols; j += lanes_of(d)) {
      const auto v = load_part(d, from + j, x.cols - j);
      store_part(d, v, values + j, x.cols - j);
      store_part(d, hn::Sub(hn::Set(d, Real(1)), v), complements + j, x.cols - j);
    }
  }
}

template <class Real>
HWY_INLINE bool has_nan(const Real* row, Index count) {
  const hn::ScalableTag<Real> d;
  auto found = hn::FirstN(d, 0);
  for (Index j = 0; j < count; j += lanes_of(d)) {
    found = hn::Or(found, hn::IsNaN(load_part(d, row + j, count - j)));
  }
  return !hn::AllFalse(d, found);
}

// A row's log sum exp is largest + log(sum).
struct LogSum {
  double largest;
  double sum;
};

// Double lanes in as many bytes as D has, at least one.
template <class D>
using DoublesOf = hn::CappedTag<double, (hn::MaxLanes(D()) * sizeof(Value<D>) + 7) / 8>;

// Returns `sum` plus the lanes of `v`, those of float converted first and folded in halves.
template <class D, class Sum>
HWY_INLINE Sum add_in_double(D d, hn::Vec<D> v, Sum sum) {
  if constexpr (std::is_same_v<Value<D>, double>) {
    return hn::Add(sum, v);
  } else if constexpr (hn::MaxLanes(d) == 1) {
    return hn::Add(sum, hn::PromoteTo(DoublesOf<D>(), v));
  } else {
#if HWY_TARGET != HWY_SCALAR
    const DoublesOf<D> d_double;
    const hn::Half<D> d_half;
    const auto low = hn::PromoteTo(d_double, hn::LowerHalf(d_half, v));
    return hn::Add(sum, hn::Add(low, hn::PromoteTo(d_double, hn::UpperHalf(d_half, v))));
#endif
  }
}

// Softmax of one row of K >= lanes logits times `weight`. The last vector ends where the row ends and may
// overlap the one before: a masked store would make the next row wait for it.
template <class D, class Real>
HWY_INLINE LogSum softmax_row(D d, Real* row, Index K, double weight) {
  const Index n = lanes_of(d);
  const Index whole = K - K % n;  // columns in full vectors
  Real* const end = row + K - n;
  auto largest_lanes = hn::LoadU(d, end);
  for (Index j = 0; j < whole; j += n) largest_lanes = hn::Max(largest_lanes, hn::LoadU(d, row + j));
  const Real largest = largest_lane(d, largest_lanes);
  // Max may lose a NaN; wherever another number remains, the NaN comes back through its own exp.
  if (largest == -infinity<Real>) {
    const bool invalid = has_nan(row, K);
    std::fill_n(row, K, invalid ? std::numeric_limits<Real>::quiet_NaN() : Real(0));
    return {-infinity<double>, invalid ? std::numeric_limits<double>::quiet_NaN() : 1.0};
  }
  const auto shift = hn::Set(d, largest);
  const auto last = exp_of_nonpositive(d, hn::Sub(hn::LoadU(d, end), shift));
  const auto already_counted = hn::FirstN(d, static_cast<size_t>(n - (K - whole)));
  const DoublesOf<D> d_double;
  auto sum_lanes = hn::Zero(d_double);
  for (Index j = 0; j < whole; j += n) {
    const auto v = exp_of_nonpositive(d, hn::Sub(hn::LoadU(d, row + j), shift));
    hn::StoreU(v, d, row + j);
    sum_lanes = add_in_double(d, v, sum_lanes);
  }
  if (whole < K) sum_lanes = add_in_double(d, hn::IfThenElse(already_counted, hn::Zero(d), last), sum_lanes);
  const double sum = hn::GetLane(hn::SumOfLanes(d_double, sum_lanes));
  const auto scale = hn::Set(d, static_cast<Real>(weight / sum));
  for (Index j = 0; j < whole; j += n) hn::StoreU(hn::Mul(hn::LoadU(d, row + j), scale), d, row + j);
  if (whole < K) hn::StoreU(hn::Mul(last, scale), d, end);
  return {static_cast<double>(largest), sum};
}

// Logarithms come after a group of rows: a call between rows would cost the vector registers. Takes the
// widest vector that a row fills.
template <size_t max_lanes, class Real>
double softmax_rows_within(MatrixView<Real> logits, const RowTerms& terms) {
  const hn::CappedTag<Real, max_lanes> d;
  if constexpr (max_lanes > 1) {
    if (lanes_of(d) > logits.cols) return softmax_rows_within<max_lanes / 2>(logits, terms);
  }
  constexpr Index group = 32;
  LogSum log_sums[group];
  double total = 0;
  for (Index first = 0; first < logits.rows; first += group) {
    const Index last = std::min(first + group, logits.rows);
    for (Index i = first; i < last; ++i) {
      log_sums[i - first] = softmax_row(d, logits.row(i), logits.cols, terms.weight(i));
    }
    for (Index i = first; i < last; ++i) {
      double objective = log_sums[i - first].largest + std::log(log_sums[i - first].sum);
      if (terms.offsets) objective += terms.offsets[i];
      if (terms.objective) terms.objective[i] = objective;
      total += weighted(terms.weight(i), objective);
    }
  }
  return total;
}

template <class Real>
double softmax_rows(MatrixView<Real> logits, const RowTerms& terms) {
  return softmax_rows_within<HWY_LANES(Real)>(logits, terms);
}

template <class Real>
HWY_INLINE Real largest_of(const Real* row, Index count) {
  const hn::ScalableTag<Real> d;
  auto largest = hn::Set(d, -infinity<Real>);
  for (Index j = 0; j < count; j += lanes_of(d)) {
    largest = hn::Max(largest, load_part(d, row + j, count - j, -infinity<Real>));
  }
  return largest_lane(d, largest);
}

// The first column that holds `value`.
template <class Real>
HWY_INLINE Index first_equal(const Real* row, Index count, Real value) {
  const hn::ScalableTag<Real> d;
  const auto wanted = hn::Set(d, value);
  for (Index j = 0; j < count; j += lanes_of(d)) {
    const auto found = hn::Eq(load_part(d, row + j, count - j, value), wanted);
    if (!hn::AllFalse(d, found)) return j + static_cast<Index>(hn::FindKnownFirstTrue(d, found));
  }
  return 0;
}

template <class Real>
double argmax_rows(MatrixView<Real> logits, const RowTerms& terms, std::int32_t* labels) {
  const Index K = logits.cols;
  double total = 0;
  for (Index i = 0; i < logits.rows; ++i) {
    Real* row = logits.row(i);
    const double weight = terms.weight(i);
    const bool invalid = has_nan(row, K);
    const Real largest = invalid ? std::numeric_limits<Real>::quiet_NaN() : largest_of(row, K);
    const Index label = first_equal(row, K, largest);
    std::fill_n(row, K, invalid ? largest : Real(0));
    if (!invalid) row[label] = static_cast<Real>(weight);
    if (labels) labels[i] = static_cast<std::int32_t>(label);
    double objective = static_cast<double>(largest);
    if (terms.offsets) objective += terms.offsets[i];
    if (terms.objective) terms.objective[i] = objective;
    total += weighted(weight, objective);
  }
  return total;
}

template <class Real>
void standardise_rows(MatrixView<const double> raw, const double* centre, const double* scale,
                      MatrixView<Real> out) {
  const DoubleLanes d;
  for (Index i = 0; i < raw.rows; ++i) {
    for (Index j = 0; j < raw.cols; j += lanes_of(d)) {
      const Index count = raw.cols - j;
      const auto centred = hn::Sub(load_part(d, raw.row(i) + j, count), load_part(d, centre + j, count));
      store_double_as(d, hn::Mul(centred, load_part(d, scale + j, count)), out.row(i) + j, count);
    }
  }
}

template <class Real>
const KernelTable<Real>* kernels() {
  static constexpr KernelTable<Real> table{
      quadratic_features<Real>, quadratic_features_from<Real>, square_features<Real>, norm_features<Real>, linear_features<Real>,
      indicator_features<Real>, softmax_rows<Real>,            argmax_rows<Real>,     standardise_rows<Real>,
  };
  return &table;
}

const KernelTable<float>* float_kernels() {
  return kernels<float>();
}
const KernelTable<double>* double_kernels() {
  return kernels<double>();
}

}  // namespace HWY_NAMESPACE
}  // namespace tally::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tally::cpu {

HWY_EXPORT(float_kernels);
HWY_EXPORT(double_kernels);

template <class Real>
const KernelTable<Real>& kernels_of_processor() {
  if constexpr (std::is_same_v<Real, float>) {
    return *HWY_DYNAMIC_DISPATCH(float_kernels)();
  } else {
    return *HWY_DYNAMIC_DISPATCH(double_kernels)();
  }
}

template <class Real>
void quadratic_features(MatrixView<const Real> x, MatrixView<Real> out) {
  kernels_of_processor<Real>().quadratic_features(x, out);
}

template <class Real>
void quadratic_features_from(Index first, MatrixView<const Real> x, MatrixView<Real> out) {
  kernels_of_processor<Real>().quadratic_features_from(first, x, out);
}

template <class Real>
void square_features(MatrixView<const Real> x, MatrixView<Real> out) {
  kernels_of_processor<Real>().square_features(x, out);
}

template <class Real>
void norm_features(MatrixView<const Real> x, MatrixView<Real> out) {
  kernels_of_processor<Real>().norm_features(x, out);
}

template <class Real>
void linear_features(MatrixView<const Real> x, MatrixView<Real> out) {
  kernels_of_processor<Real>().linear_features(x, out);
}

template <class Real>
void indicator_features(MatrixView<const Real> x, MatrixView<Real> out) {
  kernels_of_processor<Real>().indicator_features(x, out);
}

template <class Real>
double softmax_rows(MatrixView<Real> logits, const RowTerms& terms) {
  return kernels_of_processor<Real>().softmax_rows(logits, terms);
}

template <class Real>
double argmax_rows(MatrixView<Real> logits, const RowTerms& terms, std::int32_t* labels) {
  return kernels_of_processor<Real>().argmax_rows(logits, terms, labels);
}

template <class Real>
void standardise_rows(MatrixView<const double> raw, const double* centre, const double* scale,
                      MatrixView<Real> out) {
  kernels_of_processor<Real>().standardise_rows(raw, centre, scale, out);
}

#define TALLY_INSTANTIATE(Real)                                                                \
  template void quadratic_features(MatrixView<const Real>, MatrixView<Real>);                  \
  template void quadratic_features_from(Index, MatrixView<const Real>, MatrixView<Real>);      \
  template void square_features(MatrixView<const Real>, MatrixView<Real>);                     \
  template void norm_features(MatrixView<const Real>, MatrixView<Real>);                       \
  template void linear_features(MatrixView<const Real>, MatrixView<Real>);                     \
  template void indicator_features(MatrixView<const Real>, MatrixView<Real>);                  \
  template double softmax_rows(MatrixView<Real>, const RowTerms&);                             \
  template double argmax_rows(MatrixView<Real>, const RowTerms&, std::int32_t*);               \
  template void standardise_rows(MatrixView<const double>, const double*, const double*, MatrixView<Real>);
TALLY_INSTANTIATE(float)
TALLY_INSTANTIATE(double)
#undef TALLY_INSTANTIATE

}  // namespace tally::cpu
#endif
