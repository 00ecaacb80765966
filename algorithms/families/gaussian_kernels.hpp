#pragma once
#include "algorithms/families/exponential_family.hpp"

namespace tally {

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

// One covariance for all components: the quadratic part of the log-density is the same for every one of them, so it
// is an offset of the row, and the products x x' are summed once, whatever the posterior.
struct GaussianTiedKernel {
  Index components = 0;
  Index columns = 0;

  Index linear_width() const { return 1 + columns; }
  Index packed() const { return columns * (columns + 1) / 2; }
  Index feature_width() const { return linear_width() + packed(); }

  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    lane.quadratic_features(x, out);
  }
  template <class Real>
  MatrixView<const Real> linear(MatrixView<const Real> features) const {
    return MatrixView<const Real>(features.data, features.rows, linear_width(), features.stride);
  }
  template <class Real>
  MatrixView<const Real> products(MatrixView<const Real> features) const {
    return MatrixView<const Real>(features.data + linear_width(), features.rows, packed(), features.stride);
  }

  template <class Lane, class Real>
  void log_densities(Lane& lane, MatrixView<const Real> features, const Real* coefficients,
                     MatrixView<Real> logits) const {
    lane.multiply_nt(linear(features), MatrixView<const Real>(coefficients, components, linear_width()), logits);
  }
  template <class Lane, class Real>
  void row_log_densities(Lane& lane, MatrixView<const Real> features, const Real* coefficients, Real* out) const {
    lane.multiply_nt(products(features),
                     MatrixView<const Real>(coefficients + components * linear_width(), 1, packed()),
                     MatrixView<Real>(out, features.rows, 1));
  }
  template <class Lane, class Real>
  void add_weighted(Lane& lane, MatrixView<const Real> features, MatrixView<const Real> posterior,
                    double* statistics) const {
    lane.add_multiply_tn(posterior, linear(features), MatrixView<double>(statistics, components, linear_width()));
  }
  template <class Lane, class Real>
  void add_unlabelled(Lane& lane, MatrixView<const Real> features, const Real* weights, double* statistics) const {
    lane.add_multiply_tn(MatrixView<const Real>(weights, features.rows, 1), products(features),
                         MatrixView<double>(statistics + components * linear_width(), 1, packed()));
  }
};

}  // namespace tally
