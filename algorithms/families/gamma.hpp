#pragma once
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "algorithms/families/exponential_family.hpp"
#include "algorithms/families/family_defaults.hpp"
#include "algorithms/model.hpp"
#include "core/backends/generic_kernels.hpp"

namespace tally {

struct GammaOptions {
  double max_shape = 1e8;
};

// Independent gamma columns of numbers above 0, of shape a and scale s:
//   log p(x) = sum_d (a_d - 1) log(x_d) - x_d / s_d - a_d log(s_d) - log Gamma(a_d)
// T(x) = [1, x, log x]. Parameters are of scaled rows.
class GammaFamily : public FamilyDefaults {
 public:
  // The terms of a log-density are of the size of the shape, times the logarithm of how far columns reach, and cancel.
  static constexpr bool rounds_products = false;

  // Throws UsageError where max_shape is not above 0 and at most 1e12.
  GammaFamily(const GammaOptions& options, Index components, Index columns);

  Domain domain() const noexcept { return Domain::positive; }
  std::map<std::string, std::string> options() const;
  Scaling scaling() const noexcept { return Scaling::from_zero; }
  void set_standardisation(const Standardisation& standardisation) { standardisation_ = standardisation; }

  void add_parameters(Layout& layout) const {
    layout.add("shapes", {components_, columns_}).add("scales", {components_, columns_});
  }
  std::vector<double> bounds(const DataSummary& summary) const;
  void set_defaults(const Layout& layout, std::span<double> parameters) const;
  // The shape from log(mean of x) - mean of log x, the scale from the mean of x; each given the other where that is frozen.
  void maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                const Layout& layout, std::span<double> parameters, const std::set<std::string>& frozen) const;
  Index free_parameters(const std::set<std::string>& frozen) const;
  double objective_in_user_units(double objective, double weight) const;

  void describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const;
  void read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const;
  void start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                std::span<double> parameters) const;
  // Mixes a little of the overall variance into those that come from a sample: a single row has none.
  void soften_start(const Layout& layout, const DataSummary& summary, std::span<double> parameters) const;
  // Mean and variance (K, D) in the user's units.
  Moments moments(const Layout& layout, std::span<const double> parameters) const;
  DrawValue sampler(const Layout& layout, std::span<const double> parameters) const;

  void coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out) const;

 private:
  // Sets shape and scale to those of this mean and variance, in scaled units.
  void set_by_moments(double mean, double variance, double& shape, double& scale) const;

  GammaOptions options_;
  Standardisation standardisation_;
};

namespace generic {

// The zeros of rows that do not count have a logarithm, too: 0.
template <class Real>
struct LogFeatures {
  MatrixView<const Real> x;
  MatrixView<Real> out;  // (rows, 1 + 2D)

  Index count() const { return FeatureColumn::count(out.cols, x.rows); }
  TALLY_HD void operator()(Index i) const {
    const FeatureColumn of(i, out.cols, x.rows);
    const bool logarithm = of.column > x.cols;
    const Index d = logarithm ? of.column - 1 - x.cols : of.column - 1;
    for (Index row = of.first; row < of.last; ++row) {
      const Real value = d < 0 ? Real(1) : x(row, d);
      out(row, of.column) = !logarithm ? value : value > 0 ? std::log(value) : Real(0);
    }
  }
};

}  // namespace generic

struct GammaKernel : ExponentialKernel {
  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    const generic::LogFeatures<Real> make{x, out};
    lane.for_each(make.count(), make);
  }
  Index feature_width() const { return width; }
};

}  // namespace tally
