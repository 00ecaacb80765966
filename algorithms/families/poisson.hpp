#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "algorithms/families/exponential_family.hpp"
#include "algorithms/families/family_defaults.hpp"
#include "algorithms/families/parameter_fields.hpp"
#include "algorithms/model.hpp"

namespace tally {

// Independent Poisson counts: log p(x) = sum_d x_d log(rate_d) - rate_d - log(x_d!). T(x) = [1, x]. Where counts are
// large these terms cancel, so they are split at reference rates c_d near the columns' means:
//   log p(x) = sum_d [x_d log(rate_d / c_d) - (rate_d - c_d)] + sum_d log p(x_d; c_d)
class PoissonFamily : public FamilyDefaults {
 public:
  // With missing values T(x) has zeros for these, and then which columns are observed.
  PoissonFamily(Index components, Index columns, bool missing_values = false)
      : FamilyDefaults(components, columns, 1 + columns + (missing_values ? columns : 0)),
        missing_values_(missing_values),
        reference_(static_cast<std::size_t>(columns), 1.0) {}

  Domain domain() const noexcept { return Domain::counts.with_missing(missing_values_); }
  std::map<std::string, std::string> options() const;
  // Takes the reference rates; any leave the log-densities what they are, up to rounding.
  void set_standardisation(const Standardisation& standardisation);
  // sum_d log p(x_d; c_d).
  std::function<double(const double*)> log_base_measure() const;

  void add_parameters(Layout& layout) const { layout.add("rates", {components_, columns_}); }
  std::vector<double> bounds(const DataSummary& summary) const;
  void set_defaults(const Layout& layout, std::span<double> parameters) const;
  // rate_kd = weighted mean of x_d, where it is observed.
  void maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                const Layout& layout, std::span<double> parameters) const;
  bool completes(bool at_start) const noexcept { return missing_values_ && at_start; }
  void complete(const Layout& statistics_layout, std::span<double> statistics, const Layout&,
                std::span<const double>) const {
    borrow_unobserved(statistics_layout["moments"].matrix(statistics), columns_);
  }
  Index free_parameters() const noexcept { return components_ * columns_; }
  double objective_in_user_units(double objective, double weight) const;

  void describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const;
  void read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const;
  void start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                std::span<double> parameters) const;
  // Mixes a little of the overall mean into rates that come from a sample, so that none is zero for good.
  void soften_start(const Layout& layout, const DataSummary& summary, std::span<double> parameters) const;
  // Mean and variance (K, D) in the user's units.
  Moments moments(const Layout& layout, std::span<const double> parameters) const;
  DrawValue sampler(const Layout& layout, std::span<const double> parameters) const;

  void coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out) const;

 private:
  bool missing_values_;
  std::vector<double> reference_;  // (D), positive
};

using PoissonKernel = LinearKernel;

}  // namespace tally
