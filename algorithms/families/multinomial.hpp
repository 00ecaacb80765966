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

struct MultinomialOptions {
  Index trials = 0;  // of a row that is drawn; 0: as many as the data's rows have on average
  double alpha = 0;  // added to each column's count: a Dirichlet(1 + alpha) prior
};

// Rows of counts, each row's sum n being given: log p(x) = log(n! / prod_d x_d!) + sum_d x_d log(p_d). T(x) = [1, x].
// Log-densities are split at reference probabilities q_d, the columns' shares of all counts, as those of PoissonFamily
// are at its reference rates.
class MultinomialFamily : public FamilyDefaults {
 public:
  static constexpr Index most_trials = Index{1} << 31;

  // Throws UsageError: alpha is no number from 0 on, or more trials than that.
  MultinomialFamily(const MultinomialOptions& options, Index components, Index columns);

  Domain domain() const noexcept { return Domain::counts; }
  std::map<std::string, std::string> options() const;
  // The number of trials, where nobody gave it.
  std::map<std::string, std::string> options_from(const DataSummary& summary) const;
  // Takes the reference probabilities.
  void set_standardisation(const Standardisation& standardisation);
  // log p(x; q).
  std::function<double(const double*)> log_base_measure() const;

  void add_parameters(Layout& layout) const { layout.add("probabilities", {components_, columns_}); }
  std::vector<double> bounds(const DataSummary& summary) const;
  void set_defaults(const Layout& layout, std::span<double> parameters) const;
  // p_kd = (counts_kd + alpha) / sum over columns of the same.
  void maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                const Layout& layout, std::span<double> parameters) const;
  Index free_parameters() const noexcept { return components_ * (columns_ - 1); }
  double objective_in_user_units(double objective, double) const { return log_likelihood_of(objective); }

  void describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const;
  void read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const;
  void start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                std::span<double> parameters) const;
  // Mixes a little of the overall shares into probabilities that come from a sample, so that none is 0 for good.
  void soften_start(const Layout& layout, const DataSummary& summary, std::span<double> parameters) const;
  // Mean and variance (K, D) of rows of so many trials.
  Moments moments(const Layout& layout, std::span<const double> parameters) const;
  DrawValue sampler(const Layout& layout, std::span<const double> parameters) const;

  void coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out) const;

 private:
  MultinomialOptions options_;
  std::vector<double> reference_;  // (D), above 0
};

}  // namespace tally
