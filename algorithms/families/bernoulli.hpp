#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "algorithms/families/exponential_family.hpp"
#include "algorithms/families/outcome_probabilities.hpp"
#include "algorithms/families/parameter_fields.hpp"
#include "algorithms/model.hpp"

namespace tally {

struct BernoulliOptions {
  double alpha = 0;  // added to the counts of ones and of zeros: a Beta(1 + alpha, 1 + alpha) prior
  bool missing_values = false;  // NaN is a value that was not observed
};

// Independent columns of 0 and 1: log p(x) = sum_d x_d log(p_d) + (1 - x_d) log(1 - p_d). T(x) = [1, x, 1 - x] has an
// entry for each value, so that a p of 0 or 1 takes no difference of infinities and a constant column is found exactly.
class BernoulliFamily : public OutcomeProbabilities {
 public:
  // Throws UsageError where alpha is no number from 0 on.
  BernoulliFamily(const BernoulliOptions& options, Index components, Index columns);

  Domain domain() const noexcept { return Domain::symbols(2).with_missing(missing_values_); }
  std::map<std::string, std::string> options() const;

  bool completes(bool at_start) const noexcept { return missing_values_ && at_start; }
  void complete(const Layout& statistics_layout, std::span<double> statistics, const Layout&,
                std::span<const double>) const {
    borrow_unobserved(statistics_layout["moments"].matrix(statistics), columns_);
  }

  void start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                std::span<double> parameters) const;
  // Mixes a little of the overall mean into probabilities that come from a sample, so that none is 0 or 1 for good.
  void soften_start(const Layout& layout, const DataSummary& summary, std::span<double> parameters) const;
  // Mean and variance (K, D) in the user's units.
  Moments moments(const Layout& layout, std::span<const double> parameters) const;
  DrawValue sampler(const Layout& layout, std::span<const double> parameters) const;

  void coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out) const;

 private:
  bool missing_values_;
};

struct BernoulliKernel : ExponentialKernel {
  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    lane.indicator_features(x, out);
  }
  Index feature_width() const { return width; }
};

}  // namespace tally
