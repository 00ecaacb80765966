#pragma once
#include <span>

#include "algorithms/families/exponential_family.hpp"
#include "algorithms/families/family_defaults.hpp"
#include "algorithms/model.hpp"

namespace tally {

// What families of trials with two outcomes have alike: "probabilities" (K, D), under a Beta(1 + alpha, 1 + alpha) prior, from
// T(x) = [1, successes, failures].
class OutcomeProbabilities : public FamilyDefaults {
 public:
  void add_parameters(Layout& layout) const { layout.add("probabilities", {components_, columns_}); }
  void set_defaults(const Layout& layout, std::span<double> parameters) const;
  // p_kd = (successes + alpha) / (successes + failures + 2 alpha), both weighted.
  void maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                const Layout& layout, std::span<double> parameters) const;
  Index free_parameters() const noexcept { return components_ * columns_; }
  double objective_in_user_units(double objective, double) const { return log_likelihood_of(objective); }

  void describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const;
  void read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const;

 protected:
  // Throws UsageError where alpha is no number from 0 on.
  OutcomeProbabilities(double alpha, Index components, Index columns);

  double alpha_;
};

}  // namespace tally
