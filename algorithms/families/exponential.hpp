#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "algorithms/families/exponential_family.hpp"
#include "algorithms/families/family_defaults.hpp"
#include "algorithms/model.hpp"

namespace tally {

struct ExponentialOptions {
  double min_mean = 1e-10;  // of a component, as a share of its column's
};

// Independent exponential columns of numbers from 0 on: log p(x) = sum_d log(rate_d) - rate_d x_d. T(x) = [1, x].
// Parameters are of scaled rows.
class ExponentialFamily : public FamilyDefaults {
 public:
  // Throws UsageError where min_mean is not above 0 and below 1.
  ExponentialFamily(const ExponentialOptions& options, Index components, Index columns);

  Domain domain() const noexcept { return Domain::not_negative; }
  std::map<std::string, std::string> options() const;
  Scaling scaling() const noexcept { return Scaling::from_zero; }
  void set_standardisation(const Standardisation& standardisation);

  void add_parameters(Layout& layout) const { layout.add("rates", {components_, columns_}); }
  void set_defaults(const Layout& layout, std::span<double> parameters) const;
  // rate_kd = 1 / the weighted mean of x_d, or of the smallest mean where that is larger.
  void maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                const Layout& layout, std::span<double> parameters) const;
  Index free_parameters() const noexcept { return components_ * columns_; }
  double objective_in_user_units(double objective, double weight) const;

  void describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const;
  void read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const;
  void start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                std::span<double> parameters) const;
  // Mixes a little of the overall mean into means that come from a sample, so that none is 0.
  void soften_start(const Layout& layout, const DataSummary& summary, std::span<double> parameters) const;
  // Mean and variance (K, D) in the user's units.
  Moments moments(const Layout& layout, std::span<const double> parameters) const;
  DrawValue sampler(const Layout& layout, std::span<const double> parameters) const;

  void coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out) const;

 private:
  // The mean of a component in scaled units that is kept: `mean`, or the smallest.
  double kept(double mean, Index d) const;

  ExponentialOptions options_;
  Standardisation standardisation_;
};

}  // namespace tally
