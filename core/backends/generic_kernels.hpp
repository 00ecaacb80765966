#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/backends/cpu_kernels.hpp"
#include "core/view.hpp"

// The kernels of cpu_kernels.hpp as functors of one index, for backends that run for-each loops: plain code
// that says what each does. A lane runs each for i in [0, count()); no two calls write to the same place, and
// every sum runs in a fixed order. The same source is compiled for a GPU and, in tests, for the host.
namespace tally::generic {

template <class Real>
struct RealTraits {
  static constexpr Real infinity = std::numeric_limits<Real>::infinity();
  static constexpr Real not_a_number = std::numeric_limits<Real>::quiet_NaN();
  static constexpr double epsilon = std::numeric_limits<Real>::epsilon();
  static constexpr double smallest = std::numeric_limits<Real>::min();
  static constexpr double largest = std::numeric_limits<Real>::max();
  // ln 2^-1008 or ln 2^-112: an exponential below counts as 0, so that no quotient of two is subnormal.
  static constexpr Real exp_limit = sizeof(Real) == 8 ? Real(-698.69) : Real(-77.63);
};

template <class Real>
TALLY_HD bool is_nan(Real value) {
  return value != value;
}

// A row of weight zero adds nothing even where it is impossible (0 * -inf would be NaN).
TALLY_HD inline double weighted(double weight, double objective) {
  const bool impossible = objective == -RealTraits<double>::infinity;
  return weight == 0.0 && impossible ? 0.0 : weight * objective;
}

// Adds the row's offset, hands the objective out where it is wanted, and returns the row's share of the sum.
TALLY_HD inline double finish_row(const cpu::RowTerms& terms, Index row, double objective) {
  if (terms.offsets) objective += terms.offsets[row];
  if (terms.objective) terms.objective[row] = objective;
  return weighted(terms.weight(row), objective);
}

// The feature kernels run for each row and each of its 1 + D slots: slot 0 is the constant's, slot 1 + d
// belongs to x_d.
template <class Real>
struct LinearFeatures {
  MatrixView<const Real> x;
  MatrixView<Real> out;  // (rows, 1 + D)

  Index count() const { return x.rows * (1 + x.cols); }
  TALLY_HD void operator()(Index i) const {
    const Index row = i / (1 + x.cols), slot = i % (1 + x.cols);
    out(row, slot) = slot == 0 ? Real(1) : x(row, slot - 1);
  }
};

template <class Real>
struct SquareFeatures {
  MatrixView<const Real> x;
  MatrixView<Real> out;  // (rows, 1 + 2D)

  Index count() const { return x.rows * (1 + x.cols); }
  TALLY_HD void operator()(Index i) const {
    const Index row = i / (1 + x.cols), slot = i % (1 + x.cols);
    const Real value = slot == 0 ? Real(1) : x(row, slot - 1);
    out(row, slot) = value;
    if (slot > 0) out(row, x.cols + slot) = value * value;
  }
};

template <class Real>
struct NormFeatures {
  MatrixView<const Real> x;
  MatrixView<Real> out;  // (rows, 2 + D)

  Index count() const { return x.rows * (1 + x.cols); }
  TALLY_HD void operator()(Index i) const {
    const Index row = i / (1 + x.cols), slot = i % (1 + x.cols);
    if (slot > 0) {
      out(row, slot) = x(row, slot - 1);
      return;
    }
    double squares = 0;
    for (Index d = 0; d < x.cols; ++d)
      squares += static_cast<double>(x(row, d)) * static_cast<double>(x(row, d));
    out(row, 0) = 1;
    out(row, 1 + x.cols) = static_cast<Real>(squares);
  }
};

template <class Real>
struct QuadraticFeatures {
  MatrixView<const Real> x;
  MatrixView<Real> out;  // (rows, 1 + D + D(D+1)/2)

  Index count() const { return x.rows * (1 + x.cols); }
  TALLY_HD void operator()(Index i) const {
    const Index D = x.cols, row = i / (1 + D), slot = i % (1 + D);
    if (slot == 0) {
      out(row, 0) = 1;
      return;
    }
    const Index a = slot - 1;
    const Real factor = x(row, a);
    out(row, slot) = factor;
    Real* products = out.row(row) + 1 + D + a * D - a * (a - 1) / 2;  // x_a x_b for b >= a
    for (Index b = a; b < D; ++b) *products++ = factor * x(row, b);
  }
};

// sums[row] receives the row's share of the objective.
template <class Real>
struct SoftmaxRow {
  MatrixView<Real> logits;
  cpu::RowTerms terms;
  double* sums;  // (rows)

  Index count() const { return logits.rows; }
  TALLY_HD void operator()(Index i) const {
    using Traits = RealTraits<Real>;
    Real* row = logits.row(i);
    Real largest = -Traits::infinity;
    bool invalid = false;
    for (Index k = 0; k < logits.cols; ++k) {
      invalid = invalid || is_nan(row[k]);
      if (row[k] > largest) largest = row[k];
    }
    if (invalid || largest == -Traits::infinity) {
      for (Index k = 0; k < logits.cols; ++k) row[k] = invalid ? Traits::not_a_number : Real(0);
      const double lost = invalid ? RealTraits<double>::not_a_number : -RealTraits<double>::infinity;
      sums[i] = finish_row(terms, i, lost);
      return;
    }
    double sum = 0;
    for (Index k = 0; k < logits.cols; ++k) {
      const Real difference = row[k] - largest;
      row[k] = difference < Traits::exp_limit ? Real(0) : std::exp(difference);
      sum += static_cast<double>(row[k]);
    }
    const Real scale = static_cast<Real>(terms.weight(i) / sum);
    for (Index k = 0; k < logits.cols; ++k) row[k] *= scale;
    sums[i] = finish_row(terms, i, static_cast<double>(largest) + std::log(sum));
  }
};

template <class Real>
struct ArgmaxRow {
  MatrixView<Real> logits;
  cpu::RowTerms terms;
  std::int32_t* labels;  // (rows) or null
  double* sums;          // (rows)

  Index count() const { return logits.rows; }
  TALLY_HD void operator()(Index i) const {
    Real* row = logits.row(i);
    Index label = 0;
    bool invalid = false;
    for (Index k = 0; k < logits.cols; ++k) {
      invalid = invalid || is_nan(row[k]);
      if (row[k] > row[label]) label = k;
    }
    if (invalid) label = 0;
    const Real largest = invalid ? RealTraits<Real>::not_a_number : row[label];
    for (Index k = 0; k < logits.cols; ++k) row[k] = invalid ? largest : Real(0);
    if (!invalid) row[label] = static_cast<Real>(terms.weight(i));
    if (labels) labels[i] = static_cast<std::int32_t>(label);
    sums[i] = finish_row(terms, i, static_cast<double>(largest));
  }
};

// One call for each of the K (1 + D) sums, which takes all rows in order.
template <class Real>
struct AddWeightedRows {
  MatrixView<const Real> x;
  MatrixView<const Real> posterior;  // (rows, K)
  MatrixView<const double> origins;  // (K, D)
  MatrixView<double> sums;           // (K, 1 + D)

  Index count() const { return sums.rows * sums.cols; }
  TALLY_HD void operator()(Index i) const {
    const Index k = i / sums.cols, slot = i - k * sums.cols;
    const double origin = slot == 0 ? 0 : origins(k, slot - 1);
    double sum = sums(k, slot);
    for (Index row = 0; row < x.rows; ++row) {
      const auto weight = static_cast<double>(posterior(row, k));
      if (weight == 0) continue;
      sum += slot == 0 ? weight : weight * (static_cast<double>(x(row, slot - 1)) - origin);
    }
    sums(k, slot) = sum;
  }
};

// to += from, element by element.
template <class Real>
struct AddToDouble {
  MatrixView<const Real> from;
  MatrixView<double> to;

  Index count() const { return to.rows * to.cols; }
  TALLY_HD void operator()(Index i) const {
    const Index row = i / to.cols, column = i % to.cols;
    to(row, column) += static_cast<double>(from(row, column));
  }
};

enum class SumTo { replace, add };

// to[i] becomes, or gains, the sum of the i-th run of at most `run` values, in order. Two of them sum any
// number of values; the order of the additions depends on that number alone.
struct SumRuns {
  const double* values;
  Index value_count;
  Index run;
  SumTo how;
  double* to;

  Index count() const { return run > 0 ? (value_count + run - 1) / run : 0; }
  TALLY_HD void operator()(Index i) const {
    const Index first = i * run, last = first + run < value_count ? first + run : value_count;
    double sum = 0;
    for (Index j = first; j < last; ++j) sum += values[j];
    to[i] = how == SumTo::add ? to[i] + sum : sum;
  }
};

}  // namespace tally::generic
