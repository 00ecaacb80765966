#pragma once
#include <cmath>

#include "core/backends/groups.hpp"
#include "core/view.hpp"

// The kernels of cpu_kernels.hpp as functors of one index, for backends that run for-each loops: plain code
// that says what each does. A lane runs each for i in [0, count()); no two calls write to the same place, and
// every sum runs in a fixed order. The same source is compiled for a GPU and, in tests, for the host.
namespace tally::generic {

// The feature kernels run for each column of each tile of rows: neighbours write neighbours, and where a column is to be
// found is worked out once a tile.
constexpr Index feature_rows = 16;

// The call that index i of `width` columns stands for.
struct FeatureColumn {
  Index column, first, last;  // rows [first, last)

  TALLY_HD FeatureColumn(Index i, Index width, Index rows) {
    const Index tile = i / width;
    column = i - tile * width;
    first = tile * feature_rows;
    last = first + feature_rows < rows ? first + feature_rows : rows;
  }
  static Index count(Index width, Index rows) { return (rows + feature_rows - 1) / feature_rows * width; }
};

template <class Real>
struct LinearFeatures {
  MatrixView<const Real> x;
  MatrixView<Real> out;  // (rows, 1 + D)

  Index count() const { return FeatureColumn::count(out.cols, x.rows); }
  TALLY_HD void operator()(Index i) const {
    const FeatureColumn of(i, out.cols, x.rows);
    TALLY_UNROLL_BY(4)
    for (Index row = of.first; row < of.last; ++row)
      out(row, of.column) = of.column == 0 ? Real(1) : x(row, of.column - 1);
  }
};

template <class Real>
struct SquareFeatures {
  MatrixView<const Real> x;
  MatrixView<Real> out;  // (rows, 1 + 2D)

  Index count() const { return FeatureColumn::count(out.cols, x.rows); }
  TALLY_HD void operator()(Index i) const {
    const FeatureColumn of(i, out.cols, x.rows);
    const bool square = of.column > x.cols;
    const Index d = square ? of.column - 1 - x.cols : of.column - 1;
    TALLY_UNROLL_BY(4)
    for (Index row = of.first; row < of.last; ++row) {
      const Real value = d < 0 ? Real(1) : x(row, d);
      out(row, of.column) = square ? value * value : value;
    }
  }
};

template <class Real>
struct IndicatorFeatures {
  MatrixView<const Real> x;
  MatrixView<Real> out;  // (rows, 1 + 2D)

  Index count() const { return FeatureColumn::count(out.cols, x.rows); }
  TALLY_HD void operator()(Index i) const {
    const FeatureColumn of(i, out.cols, x.rows);
    const bool complement = of.column > x.cols;
    const Index d = complement ? of.column - 1 - x.cols : of.column - 1;
    TALLY_UNROLL_BY(4)
    for (Index row = of.first; row < of.last; ++row) {
      const Real value = d < 0 ? Real(1) : x(row, d);
      out(row, of.column) = complement ? Real(1) - value : value;
    }
  }
};

template <class Real>
struct QuadraticFeatures {
  MatrixView<const Real> x;
  MatrixView<Real> out;  // (rows, 1 + D + D(D+1)/2)

  Index count() const { return FeatureColumn::count(out.cols, x.rows); }
  TALLY_HD void operator()(Index i) const {
    const FeatureColumn of(i, out.cols, x.rows);
    Index a = -1, b = of.column - 1;  // -1 stands for a factor of 1
    if (of.column > x.cols) find_product(of.column - 1 - x.cols, a, b);
    TALLY_UNROLL_BY(4)
    for (Index row = of.first; row < of.last; ++row) {
      const Real value = b < 0 ? Real(1) : x(row, b);
      out(row, of.column) = a < 0 ? value : x(row, a) * value;
    }
  }

  // The p-th product x_a x_b, a <= b: those of a begin at a D - a (a - 1) / 2.
  TALLY_HD void find_product(Index p, Index& a, Index& b) const {
    const Index D = x.cols;
    const double odd = 2 * static_cast<double>(D) + 1;
    a = static_cast<Index>((odd - std::sqrt(odd * odd - 8 * static_cast<double>(p))) / 2);
    while (a > 0 && begin_of(a) > p) --a;
    while (begin_of(a + 1) <= p) ++a;
    b = a + p - begin_of(a);
  }

 private:
  TALLY_HD Index begin_of(Index a) const { return a * x.cols - a * (a - 1) / 2; }
};

// 8 threads a row, which share the sum of squares.
template <class Real>
struct NormFeatures {
  static constexpr int threads = 128, groups_at_once = 8, lanes = 8, rows = threads / lanes;
  struct Shared {};
  struct Own {
    double squares;
  };

  MatrixView<const Real> x;
  MatrixView<Real> out;  // (rows, 2 + D)

  Index groups() const { return (x.rows + rows - 1) / rows; }
  template <class Group>
  TALLY_HD void operator()(Index index, Group& group, Shared&) const {
    group.each([&](int thread, Own& own) {
      const Index row = index * rows + thread / lanes;
      own.squares = 0;
      if (row >= x.rows) return;
      for (Index d = thread % lanes; d < x.cols; d += lanes) {
        const Real value = x(row, d);
        out(row, 1 + d) = value;
        own.squares += static_cast<double>(value) * static_cast<double>(value);
      }
    });
    group.template combine<lanes>([](Own& own) -> double& { return own.squares; }, Plus{});
    group.each([&](int thread, Own& own) {
      const Index row = index * rows + thread / lanes;
      if (row >= x.rows || thread % lanes != 0) return;
      out(row, 0) = 1;
      out(row, 1 + x.cols) = static_cast<Real>(own.squares);
    });
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

// Each element of `sums` gains those of the products, one after another.
template <class Real>
struct AddSlices {
  const Real* products;     // (slices, sums.rows, sums.cols)
  Index slices;
  MatrixView<double> sums;

  Index count() const { return sums.rows * sums.cols; }
  TALLY_HD void operator()(Index i) const {
    const Index row = i / sums.cols, column = i - row * sums.cols;
    double sum = sums(row, column);
    TALLY_UNROLL_BY(4)
    for (Index s = 0; s < slices; ++s) sum += static_cast<double>(products[s * sums.rows * sums.cols + i]);
    sums(row, column) = sum;
  }
};

}  // namespace tally::generic
