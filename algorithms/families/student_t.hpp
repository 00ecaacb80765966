#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "algorithms/families/gaussian.hpp"
#include "algorithms/families/gaussian_kernels.hpp"
#include "algorithms/model.hpp"

namespace tally {

struct StudentTOptions {
  GaussianOptions gaussian;  // of the scale matrices, of which components share no part
  double max_degrees = 1e6;
};

// Multivariate Student t components: normal ones whose rows have precisions of their own, u of a gamma distribution of shape and
// rate nu / 2. With q = (x - m)' S^-1 (x - m),
//   log p(x) = log Gamma((nu + D) / 2) - log Gamma(nu / 2) - D/2 log(pi nu) - 1/2 log|S| - (nu + D) / 2 log(1 + q / nu)
// -q / 2 is a product of the Gaussian's T(x) with coefficients; a row's statistics are r u T(x), u = (nu + D) / (nu + q) being
// its expected precision.
class StudentTFamily {
 public:
  // Throws UsageError: scales that share parts, or max_degrees is not within 1 to 1e12.
  StudentTFamily(const StudentTOptions& options, Index components, Index columns);

  Index components() const noexcept { return gaussian_.components(); }
  Index columns() const noexcept { return gaussian_.columns(); }
  Domain domain() const noexcept { return Domain::real; }
  std::map<std::string, std::string> options() const;
  Scaling scaling() const noexcept { return gaussian_.scaling(); }
  void set_standardisation(const Standardisation& standardisation) { gaussian_.set_standardisation(standardisation); }
  std::function<double(const double*)> log_base_measure() const { return nullptr; }

  // "means" (K, D), "scales" as covariances of the same shape, "degrees_of_freedom" (K).
  void add_parameters(Layout& layout) const;
  // "moments" (K, 1): posterior weights r; "spreads" (K): sums of r (log u - u + 1); "scaled_moments" (K, P): of r u T(x).
  void add_statistics(Layout& layout) const;
  std::vector<double> bounds(const DataSummary& summary) const;
  void set_defaults(const Layout& layout, std::span<double> parameters) const;
  // Parameter-expanded EM. Degrees of freedom stay where all u are 1, as in a start from labels.
  void maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                const Layout& layout, std::span<double> parameters, const std::set<std::string>& frozen) const;
  Index free_parameters(const std::set<std::string>& frozen) const;
  double objective_in_user_units(double objective, double weight) const {
    return gaussian_.objective_in_user_units(objective, weight);
  }
  std::vector<std::string> warnings(const DataSummary& summary) const { return gaussian_.warnings(summary); }

  void describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const;
  void read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const;
  void start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                std::span<double> parameters) const;
  // Mean and variance (K, D) in the user's units; infinite variances up to 2 degrees of freedom.
  Moments moments(const Layout& layout, std::span<const double> parameters) const;
  using DrawValue = std::function<void(Index k, RandomKey key, Index row, double* out)>;
  DrawValue sampler(const Layout& layout, std::span<const double> parameters) const;

  // Of each component: the constant of its log-density, nu, and P coefficients whose product with T(x) is -q / 2.
  Index coefficient_stride() const noexcept { return 2 + gaussian_.width(); }
  Index coefficient_count() const noexcept { return components() * coefficient_stride(); }
  void coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out) const;

 private:
  // Means and scales, which a Gaussian computes with as its means and covariances.
  template <class T>
  std::span<T> of_gaussian(const Layout& layout, std::span<T> parameters) const {
    return parameters.subspan(static_cast<std::size_t>(layout["means"].offset),
                              static_cast<std::size_t>(gaussian_parameters_.size()));
  }

  double max_degrees_;
  GaussianFamily gaussian_;
  Layout gaussian_parameters_, gaussian_statistics_;
};

namespace generic {

// What a row's distance from a component says, from -q / 2 and nu. Distances that rounding made negative are 0.
template <class Real>
struct StudentRow {
  Real nu, columns, q;

  TALLY_HD StudentRow(Real minus_half_q, Real nu_of, Real dims)
      : nu(nu_of), columns(dims), q(minus_half_q >= 0 ? Real{0} : -2 * minus_half_q) {}
  TALLY_HD Real log_density(Real constant) const { return constant - Real(0.5) * (nu + columns) * std::log1p(q / nu); }
  TALLY_HD Real precision() const { return (nu + columns) / (nu + q); }
  // log u - u + 1, of u near 1 by u - 1, which far from it is -1 but for digits that count.
  TALLY_HD Real spread() const {
    const Real beyond = (columns - q) / (nu + q);
    return (beyond > Real(-0.5) ? std::log1p(beyond) : std::log(precision())) - beyond;
  }
};

// Makes log-densities of -q / 2.
template <class Real>
struct StudentLogDensities {
  MatrixView<const Real> terms;  // (K, 2): constant, nu
  Real columns;
  MatrixView<Real> logits;  // (rows, K)

  TALLY_HD void operator()(Index i) const {
    for (Index k = 0; k < logits.cols; ++k)
      logits(i, k) = StudentRow<Real>(logits(i, k), terms(k, 1), columns).log_density(terms(k, 0));
  }
};

// Makes posterior weights times precisions of -q / 2, and what rows say about nu.
template <class Real>
struct StudentWeights {
  MatrixView<const Real> terms;  // (K, 2)
  Real columns;
  MatrixView<const Real> posterior;  // (rows, K)
  MatrixView<Real> scaled, spreads;  // (rows, K); `scaled` holds -q / 2

  TALLY_HD void operator()(Index i) const {
    for (Index k = 0; k < posterior.cols; ++k) {
      const Real weight = posterior(i, k);
      const StudentRow<Real> row(scaled(i, k), terms(k, 1), columns);
      scaled(i, k) = weight > 0 ? weight * row.precision() : Real{0};
      spreads(i, k) = weight > 0 ? weight * row.spread() : Real{0};
    }
  }
};

}  // namespace generic

// Shape is the kernel of the Gaussian of the same shape: how T(x) is made.
template <class Shape>
struct StudentTKernel {
  Shape shape;
  Index columns = 0;

  Index feature_width() const { return shape.feature_width(); }
  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    shape.features(lane, x, out);
  }

  template <class Lane, class Real>
  void log_densities(Lane& lane, MatrixView<const Real> features, const Real* coefficients,
                     MatrixView<Real> logits) const {
    lane.multiply_nt(features, products_of(coefficients), logits);
    lane.for_each(logits.rows,
                  generic::StudentLogDensities<Real>{terms_of(coefficients), static_cast<Real>(columns), logits});
  }
  // Without coefficients all precisions are 1.
  template <class Lane, class Real>
  void add_weighted(Lane& lane, MatrixView<const Real> features, const Real* coefficients,
                    MatrixView<const Real> posterior, double* statistics) const {
    const Index K = shape.components;
    const MatrixView<const Real> ones(features.data, features.rows, 1, features.stride);
    const MatrixView<double> weights(statistics, K, 1), spreads(statistics + K, K, 1), moments(statistics + 2 * K, K, shape.width);
    lane.add_multiply_tn(posterior, ones, weights);
    if (!coefficients) {
      lane.add_multiply_tn(posterior, features, moments);
      return;
    }
    const MatrixView<Real> both = lane.template workspace<Real>(features.rows, 2 * K);
    const MatrixView<Real> scaled(both.data, both.rows, K, both.stride), of_rows(both.data + K, both.rows, K, both.stride);
    lane.multiply_nt(features, products_of(coefficients), scaled);
    lane.for_each(features.rows, generic::StudentWeights<Real>{terms_of(coefficients), static_cast<Real>(columns), posterior,
                                                               scaled, of_rows});
    lane.add_multiply_tn(MatrixView<const Real>(of_rows), ones, spreads);
    lane.add_multiply_tn(MatrixView<const Real>(scaled), features, moments);
  }

 private:
  template <class Real>
  MatrixView<const Real> terms_of(const Real* coefficients) const {
    return {coefficients, shape.components, 2, 2 + shape.width};
  }
  template <class Real>
  MatrixView<const Real> products_of(const Real* coefficients) const {
    return {coefficients + 2, shape.components, shape.width, 2 + shape.width};
  }
};

}  // namespace tally
