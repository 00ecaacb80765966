#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "algorithms/families/exponential_family.hpp"
#include "algorithms/families/outcome_probabilities.hpp"
#include "algorithms/model.hpp"
#include "core/backends/generic_kernels.hpp"

namespace tally {

struct BinomialOptions {
  Index trials = 0;  // n; 0: the largest count of the data
  double alpha = 0;  // added to the successes and to the failures: a Beta(1 + alpha, 1 + alpha) prior
};

// Independent counts of successes in n trials: log p(x) = log C(n, x) + sum_d x_d log(p_d) + (n - x_d) log(1 - p_d).
// T(x) = [1, x, n - x] has an entry for each outcome, as that of Bernoulli. Log-densities are split at reference
// probabilities q_d, the columns' means over n, as those of PoissonFamily are at its reference rates.
class BinomialFamily : public OutcomeProbabilities {
 public:
  static constexpr Index most_trials = Index{1} << 31;

  // Throws UsageError: alpha is no number from 0 on, or more trials than that.
  BinomialFamily(const BinomialOptions& options, Index components, Index columns);

  Index trials() const noexcept { return trials_; }
  Domain domain() const noexcept { return Domain::symbols((trials() > 0 ? trials() : most_trials) + 1); }
  std::map<std::string, std::string> options() const;
  // The number of trials, where nobody gave it.
  std::map<std::string, std::string> options_from(const DataSummary& summary) const;
  // Takes the reference probabilities.
  void set_standardisation(const Standardisation& standardisation);
  // sum_d log p(x_d; n, q_d).
  std::function<double(const double*)> log_base_measure() const;

  std::vector<double> bounds(const DataSummary&) const { return {static_cast<double>(trials())}; }

  void start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                std::span<double> parameters) const;
  // Mixes a little of the overall mean into probabilities that come from a sample, so that none is 0 or 1 for good.
  void soften_start(const Layout& layout, const DataSummary& summary, std::span<double> parameters) const;
  // Mean and variance (K, D) in the user's units.
  Moments moments(const Layout& layout, std::span<const double> parameters) const;
  DrawValue sampler(const Layout& layout, std::span<const double> parameters) const;

  void coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out) const;

 private:
  Index trials_;
  std::vector<double> reference_;  // (D), above 0 and below 1
};

namespace generic {

template <class Real>
struct TrialFeatures {
  MatrixView<const Real> x;
  MatrixView<Real> out;  // (rows, 1 + 2D)
  Real trials;

  Index count() const { return FeatureColumn::count(out.cols, x.rows); }
  TALLY_HD void operator()(Index i) const {
    const FeatureColumn of(i, out.cols, x.rows);
    const bool failures = of.column > x.cols;
    const Index d = failures ? of.column - 1 - x.cols : of.column - 1;
    TALLY_UNROLL_BY(4)
    for (Index row = of.first; row < of.last; ++row) {
      const Real value = d < 0 ? Real(1) : x(row, d);
      out(row, of.column) = failures ? trials - value : value;
    }
  }
};

}  // namespace generic

struct BinomialKernel : ExponentialKernel {
  Index trials = 0;

  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    const generic::TrialFeatures<Real> make{x, out, static_cast<Real>(trials)};
    lane.for_each(make.count(), make);
  }
  Index feature_width() const { return width; }
};

}  // namespace tally
