#pragma once
#include "algorithms/families/exponential_family.hpp"
#include "algorithms/families/packed_index.hpp"
#include "core/block.hpp"

namespace tally {

namespace generic {

// -1/2 |x_i|^2 of each row, in eight sums that do not wait for each other.
template <class Real>
struct HalfNorm {
  MatrixView<const Real> x;
  Real* out;  // (rows)

  TALLY_HD void operator()(Index i) const {
    constexpr Index sums = 8;
    double squares[sums] = {};
    const Real* row = x.row(i);
    Index d = 0;
    for (; d + sums <= x.cols; d += sums)
      for (Index s = 0; s < sums; ++s) squares[s] += static_cast<double>(row[d + s]) * static_cast<double>(row[d + s]);
    for (Index s = 0; s < sums; ++s)
      if (d + s < x.cols) squares[s] += static_cast<double>(row[d + s]) * static_cast<double>(row[d + s]);
    for (Index half = sums / 2; half > 0; half /= 2)
      for (Index s = 0; s < half; ++s) squares[s] += squares[s + half];
    out[i] = static_cast<Real>(-0.5 * squares[0]);
  }
};

template <class Real>
struct WeightedRow {
  MatrixView<const Real> x;
  const Real* weights;
  MatrixView<Real> out;

  TALLY_HD void operator()(Index i) const {
    for (Index d = 0; d < x.cols; ++d) out(i, d) = weights[i] * x(i, d);
  }
};

struct SetToZero {
  double* values;

  TALLY_HD void operator()(Index i) const { values[i] = 0; }
};

// Adds what is on and above the diagonal of a square matrix to the packed `sums`.
struct AddUpperRow {
  MatrixView<const double> square;
  double* sums;

  TALLY_HD void operator()(Index a) const {
    double* const to = sums + packed_index(a, a, square.cols);
    for (Index b = a; b < square.cols; ++b) to[b - a] += square(a, b);
  }
};

}  // namespace generic

// The block half of the Gaussian families: how T(x) is made. Order of T: 1, x, then the squares.

struct GaussianFullKernel : ExponentialKernel {
  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    lane.quadratic_features(x, out);
  }
  Index feature_width() const { return width; }
};

struct GaussianDiagKernel : ExponentialKernel {
  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    lane.square_features(x, out);
  }
  Index feature_width() const { return width; }
};

struct GaussianSphericalKernel : ExponentialKernel {
  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    lane.norm_features(x, out);
  }
  Index feature_width() const { return width; }
};

// One covariance for all components: the quadratic part of the log-density, -1/2 |L^-1 x|^2 where L L' is the covariance, is the
// same for every one of them, so it is an offset of the row, and the products x x' are summed once, whatever the posterior.
// Coefficients: those of T(x) = [1, x] (K, 1 + D), then L^-1 (D, D).
struct GaussianTiedKernel : LinearKernel {
  GaussianTiedKernel(Index component_count, Index columns) : LinearKernel{{component_count, 1 + columns}} {}
  Index columns() const { return width - 1; }
  // Of a CPU lane.
  Index workspace_bytes() const { return 8 * columns() * (tile_rows + columns()); }

  template <class Real>
  MatrixView<const Real> rows_of(MatrixView<const Real> features) const {
    return {features.data + 1, features.rows, columns(), features.stride};
  }

  template <class Lane, class Real>
  void row_log_densities(Lane& lane, MatrixView<const Real> features, const Real* coefficients, Real* out) const {
    const MatrixView<Real> whitened = lane.template workspace<Real>(features.rows, columns());
    lane.multiply_nt(rows_of(features), MatrixView<const Real>(coefficients + components * width, columns(), columns()), whitened);
    lane.for_each(features.rows, generic::HalfNorm<Real>{whitened, out});
  }
  template <class Lane, class Real>
  void add_unlabelled(Lane& lane, MatrixView<const Real> features, const Real* weights, double* statistics) const {
    const Index D = columns();
    const MatrixView<const Real> x = rows_of(features);
    MatrixView<const Real> weighted = x;
    if (weights) {
      const MatrixView<Real> out = lane.template workspace<Real>(x.rows, D);
      lane.for_each(x.rows, generic::WeightedRow<Real>{x, weights, out});
      weighted = out;
    }
    const MatrixView<double> products = lane.template workspace<double, 1>(D, D);
    lane.for_each(D * D, generic::SetToZero{products.data});
    lane.add_multiply_tn(weighted, x, products);
    lane.for_each(D, generic::AddUpperRow{products, statistics + components * width});
  }
};

}  // namespace tally
