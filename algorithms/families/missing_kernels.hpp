#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "algorithms/families/exponential_family.hpp"
#include "algorithms/families/packed_index.hpp"

namespace tally {

// The block half of families whose rows may lack values, which are NaN (--missing nan). Rows are seen as if 0 stood there, and
// what that is wrong by is put right: where columns are independent, by features that say which are observed; where they
// are not, row by row.

namespace generic {

// Zeros where values are missing; `observed` is 0 there, elsewhere 1.
template <class Real>
struct SeparateMissing {
  MatrixView<const Real> x;          // (rows, D)
  MatrixView<Real> zeroed, observed;  // (rows, D)

  TALLY_HD void operator()(Index i) const {
    for (Index d = 0; d < x.cols; ++d) {
      const bool missing = x(i, d) != x(i, d);
      zeroed(i, d) = missing ? Real{0} : x(i, d);
      observed(i, d) = missing ? Real{0} : Real{1};
    }
  }
};

template <class Real>
struct ZeroMissing {
  MatrixView<Real> values;

  TALLY_HD void operator()(Index i) const {
    for (Index d = 0; d < values.cols; ++d)
      if (values(i, d) != values(i, d)) values(i, d) = 0;
  }
};

// Zeros where values are missing; `list` has how many are, then their columns.
template <class Real>
struct ListMissing {
  MatrixView<const Real> x;  // (rows, D)
  MatrixView<Real> zeroed;   // (rows, D)
  MatrixView<Real> list;     // (rows, 1 + D)

  TALLY_HD void operator()(Index i) const {
    Index count = 0;
    for (Index d = 0; d < x.cols; ++d) {
      const bool missing = x(i, d) != x(i, d);
      zeroed(i, d) = missing ? Real{0} : x(i, d);
      if (missing) list(i, 1 + count++) = static_cast<Real>(d);
    }
    list(i, 0) = static_cast<Real>(count);
  }
};

// Of Real numbers, in a fixed order that lets a processor add several at a time.
template <class Real>
TALLY_HD Real dot(const Real* a, const Real* b, Index count) {
  constexpr Index lanes = 4;
  Real sums[lanes] = {};
  Index i = 0;
  for (; i + lanes <= count; i += lanes)
    for (Index j = 0; j < lanes; ++j) sums[j] += a[i + j] * b[i + j];
  for (; i < count; ++i) sums[0] += a[i] * b[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// A normal density: (constant, P mu, -1/2 P packed, P), P being its precision matrix.
template <class Real>
struct NormalDensity {
  const Real* natural;
  Index columns;

  TALLY_HD static Index size(Index columns) { return 1 + columns + columns * (columns + 1) / 2 + columns * columns; }
  TALLY_HD Real linear(Index a) const { return natural[1 + a]; }
  TALLY_HD const Real* precision(Index a) const {
    return natural + 1 + columns + columns * (columns + 1) / 2 + a * columns;
  }
};

// The missing columns m of a row given the others o: normal with precision P_mm and mean P_mm^-1 g, g = (P mu)_m - P_mo x_o
// (Bishop, Pattern Recognition and Machine Learning, 2006, equations 2.69 to 2.75).
template <class Real>
struct MissingGivenObserved {
  NormalDensity<Real> density;
  const Real* row;      // (D), zeros where values are missing
  const Real* missing;  // (count) columns, ascending
  Index count;
  double* mean;    // (count)
  double* factor;  // (count (count + 1) / 2): rows of L, unit lower triangular, with D on the diagonal; P_mm = L D L'

  // Numbers that `mean` and `factor` take.
  TALLY_HD static Index scratch(Index columns) { return columns * (columns + 1) / 2 + columns; }
  TALLY_HD static Index place(Index a, Index b) { return a * (a + 1) / 2 + b; }  // b <= a
  TALLY_HD Index column(Index j) const { return static_cast<Index>(missing[j]); }

  // Returns what the log-density of o differs by from that of the row with zeros for m: that is T(x)' eta, to which the
  // integral over x_m adds 1/2 g' P_mm^-1 g - 1/2 log det P_mm + |m|/2 log(2 pi).
  TALLY_HD double solve() const {
    constexpr double log_two_pi = 1.8378770664093454836, far = 1e100;
    double squares = 0, logarithms = 0, determinant = 1;
    for (Index i = 0; i < count; ++i) {
      const Real* const precision = density.precision(column(i));
      double g = static_cast<double>(density.linear(column(i)) - dot(precision, row, density.columns));
      double* const L = factor + place(i, 0);
      double pivot = static_cast<double>(precision[column(i)]);
      for (Index j = 0; j < i; ++j) {
        const double* const other = factor + place(j, 0);
        double sum = static_cast<double>(precision[column(j)]);
        for (Index c = 0; c < j; ++c) sum -= L[c] * other[c];
        L[j] = sum;  // times D_j, for now
      }
      for (Index j = 0; j < i; ++j) {
        const double scaled = L[j] / factor[place(j, j)];
        pivot -= L[j] * scaled;
        L[j] = scaled;
        g -= scaled * mean[j];
      }
      if (!(pivot > 0)) determinant = std::numeric_limits<double>::quiet_NaN();  // rounding left no precision matrix
      L[i] = pivot;
      mean[i] = g;  // L^-1 g, for now
      squares += g * g / pivot;
      determinant *= pivot;
      if (determinant < far && determinant > 1 / far) continue;
      logarithms += std::log(determinant);
      determinant = 1;
    }
    for (Index i = count - 1; i >= 0; --i) {
      mean[i] /= factor[place(i, i)];
      for (Index j = i + 1; j < count; ++j) mean[i] -= factor[place(j, i)] * mean[j];
    }
    return 0.5 * (squares - logarithms - std::log(determinant) + static_cast<double>(count) * log_two_pi);
  }

  // Makes L its inverse, and D too.
  TALLY_HD void invert_factor() const {
    for (Index j = 0; j < count; ++j) {
      factor[place(j, j)] = 1 / factor[place(j, j)];
      for (Index i = j + 1; i < count; ++i) {
        double sum = factor[place(i, j)];
        for (Index c = j + 1; c < i; ++c) sum += factor[place(i, c)] * factor[place(c, j)];
        factor[place(i, j)] = -sum;
      }
    }
  }

  // Adds weight times what is expected of the missing columns: means to `means` (D), and to the rows of `products` (D, D) that
  // belong to missing columns a E[x_a x_b], of pairs of missing columns to that row alone which comes last. Leaves the factor
  // inverted.
  TALLY_HD void add_expected(double weight, double* means, double* products) const {
    invert_factor();
    for (Index i = 0; i < count; ++i) {
      const Index a = column(i);
      double* const to = products + a * density.columns;
      const double scaled = weight * mean[i];
      means[a] += scaled;
      for (Index b = 0; b < density.columns; ++b) to[b] += scaled * static_cast<double>(row[b]);
      for (Index j = 0; j <= i; ++j) {
        double covariance = factor[place(i, j)] * (i == j ? 1 : factor[place(i, i)]);
        for (Index c = i + 1; c < count; ++c) {
          const double* const L = factor + place(c, 0);
          covariance += L[i] * L[j] * L[c];
        }
        to[column(j)] += weight * (mean[i] * mean[j] + covariance);
      }
    }
  }
};

// Rows with missing values and the densities of their components.
template <class Real>
struct IncompleteRows {
  MatrixView<const Real> features;   // (rows, P + 1 + D): T(x), then a list of what is missing
  MatrixView<const Real> densities;  // (K, size of one)
  Index columns;

  TALLY_HD const Real* list(Index i) const { return features.row(i) + 1 + columns + columns * (columns + 1) / 2; }
  TALLY_HD bool complete(Index i) const { return list(i)[0] == 0; }
  TALLY_HD MissingGivenObserved<Real> given(Index i, Index k, double* scratch) const {
    const Real* const missing = list(i);
    return {{densities.row(k), columns}, features.row(i) + 1, missing + 1, static_cast<Index>(missing[0]), scratch,
            scratch + columns};
  }
};

template <class Real>
struct MarginaliseMissing {
  IncompleteRows<Real> rows;
  MatrixView<double> scratch;  // a row for each that is computed at once
  MatrixView<Real> logits;

  TALLY_HD void operator()(Index i) const {
    if (rows.complete(i)) return;
    double* const own = scratch.row(i % scratch.rows);
    for (Index k = 0; k < logits.cols; ++k)
      logits(i, k) = static_cast<Real>(static_cast<double>(logits(i, k)) + rows.given(i, k, own).solve());
  }
};

// What a part of the rows is expected to have: call n is for component n % K, part n / K.
template <class Real>
struct SumExpected {
  IncompleteRows<Real> rows;
  MatrixView<const Real> posterior;
  MatrixView<double> scratch;  // a row for each call that is computed at once
  Index parts;
  MatrixView<double> sums;  // (parts * K, D + D D): means, products

  TALLY_HD void operator()(Index n) const {
    const Index K = posterior.cols, k = n % K, part = n / K;
    double* const own = sums.row(n);
    for (Index j = 0; j < sums.cols; ++j) own[j] = 0;
    for (Index i = part * posterior.rows / parts; i < (part + 1) * posterior.rows / parts; ++i) {
      const auto weight = static_cast<double>(posterior(i, k));
      if (weight == 0 || rows.complete(i)) continue;
      const MissingGivenObserved<Real> given = rows.given(i, k, scratch.row(n % scratch.rows));
      given.solve();
      given.add_expected(weight, own, own + rows.columns);
    }
  }
};

// Adds them to the moments, all parts in their order: call n is for component n / D, its column n % D.
struct AddExpected {
  MatrixView<const double> sums;  // (parts * K, D + D D)
  Index parts, columns;
  MatrixView<double> moments;  // (K, P)

  TALLY_HD void operator()(Index n) const {
    const Index k = n / columns, a = n % columns;
    double* const to = moments.row(k);
    for (Index part = 0; part < parts; ++part) {
      const double* const own = sums.row(part * moments.rows + k);
      to[1 + a] += own[a];
      for (Index b = a; b < columns; ++b) {
        const double product = own[columns + a * columns + b] + (a == b ? 0 : own[columns + b * columns + a]);
        to[1 + columns + packed_index(a, b, columns)] += product;
      }
    }
  }
};

// Posterior weights of rows that lack each column, of a component a call.
template <class Real>
struct WeighMissing {
  IncompleteRows<Real> rows;
  MatrixView<const Real> posterior;
  MatrixView<double> weights;  // (K, D)

  TALLY_HD void operator()(Index k) const {
    for (Index i = 0; i < posterior.rows; ++i) {
      const Real* const missing = rows.list(i);
      for (Index j = 0; j < static_cast<Index>(missing[0]); ++j)
        weights(k, static_cast<Index>(missing[1 + j])) += static_cast<double>(posterior(i, k));
    }
  }
};

}  // namespace generic

// Families whose columns are independent and whose log-densities have a constant of each column: T(x) of the kernel, then
// which columns are observed.
template <class Kernel>
struct ObservedColumns : ExponentialKernel {
  Kernel complete;
  Index columns = 0;

  ObservedColumns(Kernel kernel, Index columns_of)
      : ExponentialKernel{kernel.components, kernel.width + columns_of}, complete(kernel), columns(columns_of) {}

  Index feature_width() const { return width; }
  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    const MatrixView<Real> zeroed = lane.template workspace<Real>(x.rows, columns);
    const MatrixView<Real> observed(out.data + complete.width, x.rows, columns, out.stride);
    lane.for_each(x.rows, generic::SeparateMissing<Real>{x, zeroed, observed});
    complete.features(lane, MatrixView<const Real>(zeroed), MatrixView<Real>(out.data, x.rows, complete.width, out.stride));
  }
};

// Families whose log-densities have a term for each observed value and no others.
template <class Kernel>
struct ObservedValues : Kernel {
  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    Kernel::features(lane, x, out);
    lane.for_each(out.rows, generic::ZeroMissing<Real>{out});
  }
};

// Normal densities whose columns are not independent. Kernel makes T(x) = [1, x, products]. Where the posterior is what was
// given, missing values count as 0, the column's mean, and their weights (K, D) follow the moments (K, P); else these stay 0.
template <class Kernel>
struct IncompleteGaussianKernel : ExponentialKernel {
  Kernel complete;
  Index columns = 0;

  IncompleteGaussianKernel(Kernel kernel, Index columns_of)
      : ExponentialKernel{kernel.components, kernel.width}, complete(kernel), columns(columns_of) {}

  Index feature_width() const { return width + 1 + columns; }

  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    const MatrixView<Real> zeroed = lane.template workspace<Real>(x.rows, columns);
    const MatrixView<Real> list(out.data + width, x.rows, 1 + columns, out.stride);
    lane.for_each(x.rows, generic::ListMissing<Real>{x, zeroed, list});
    complete.features(lane, MatrixView<const Real>(zeroed), MatrixView<Real>(out.data, x.rows, width, out.stride));
  }

  template <class Lane, class Real>
  void log_densities(Lane& lane, MatrixView<const Real> features, const Real* coefficients,
                     MatrixView<Real> logits) const {
    const generic::IncompleteRows<Real> rows = rows_of(features, coefficients);
    const MatrixView<const Real> eta(coefficients, components, width, rows.densities.stride);
    lane.multiply_nt(monomials(features), eta, logits);
    const MatrixView<double> scratch = lane.template workspace<double>(lane.calls_at_once(features.rows),
                                                                       generic::MissingGivenObserved<Real>::scratch(columns));
    lane.for_each(features.rows, generic::MarginaliseMissing<Real>{rows, scratch, logits});
  }

  template <class Lane, class Real>
  void add_weighted(Lane& lane, MatrixView<const Real> features, const Real* coefficients,
                    MatrixView<const Real> posterior, double* statistics) const {
    const MatrixView<double> moments(statistics, components, width);
    lane.add_multiply_tn(posterior, monomials(features), moments);
    if (!coefficients) {
      const MatrixView<double> weights(statistics + components * width, components, columns);
      lane.for_each(components, generic::WeighMissing<Real>{rows_of(features, coefficients), posterior, weights});
      return;
    }
    const Index parts = parts_of(features.rows), calls = parts * components, at_once = lane.calls_at_once(calls);
    const Index of_sums = columns + columns * columns, of_scratch = generic::MissingGivenObserved<Real>::scratch(columns);
    double* const both = lane.template workspace<double>(1, calls * of_sums + at_once * of_scratch).data;
    const MatrixView<double> sums(both, calls, of_sums), scratch(both + calls * of_sums, at_once, of_scratch);
    lane.for_each(calls, generic::SumExpected<Real>{rows_of(features, coefficients), posterior, scratch, parts, sums});
    lane.for_each(components * columns, generic::AddExpected{sums, parts, columns, moments});
  }

  // Of a CPU lane.
  Index workspace_bytes() const {
    return 8 * (components * columns * (columns + 1) + generic::MissingGivenObserved<double>::scratch(columns));
  }

 private:
  template <class Real>
  MatrixView<const Real> monomials(MatrixView<const Real> features) const {
    return {features.data, features.rows, width, features.stride};
  }
  template <class Real>
  generic::IncompleteRows<Real> rows_of(MatrixView<const Real> features, const Real* coefficients) const {
    return {features, {coefficients, components, generic::NormalDensity<Real>::size(columns)}, columns};
  }
  // How many parts of the rows a device adds up at a time: one on a CPU, whose tiles are low. Depends on shapes alone.
  Index parts_of(Index rows) const {
    constexpr Index rows_each = 256, most_calls = Index{1} << 15, most_values = Index{1} << 24;
    return std::max<Index>(1, std::min({rows / rows_each, most_calls / components, most_values / (2 * components * width)}));
  }
};

}  // namespace tally
