#include "algorithms/families/binomial.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "algorithms/families/option_text.hpp"
#include "algorithms/families/parameter_fields.hpp"
#include "algorithms/families/poisson_density.hpp"
#include "core/draws.hpp"
#include "core/error.hpp"

namespace tally {

BinomialFamily::BinomialFamily(const BinomialOptions& options, Index components, Index columns)
    : OutcomeProbabilities(options.alpha, components, columns),
      trials_(options.trials),
      reference_(static_cast<std::size_t>(columns), 0.5) {
  if (options.trials < 0 || options.trials > most_trials)
    throw UsageError("--trials must be within 1 to " + std::to_string(most_trials));
}

std::map<std::string, std::string> BinomialFamily::options() const {
  return {{"alpha", option_text(alpha_)}, {"trials", std::to_string(trials())}};
}

std::map<std::string, std::string> BinomialFamily::options_from(const DataSummary& summary) const {
  if (trials() > 0) return {};
  const double largest = *std::max_element(summary.maximum.begin(), summary.maximum.end());
  return {{"trials", std::to_string(std::max(static_cast<Index>(largest), Index{1}))}};
}

void BinomialFamily::set_standardisation(const Standardisation& standardisation) {
  // Columns of nothing but successes or failures have a reference too.
  constexpr double smallest_reference = 0x1p-30;
  for (std::size_t d = 0; d < standardisation.reference.size(); ++d)
    reference_[d] = std::clamp(standardisation.reference[d] / static_cast<double>(trials()), smallest_reference,
                               1 - smallest_reference);
}

std::function<double(const double*)> BinomialFamily::log_base_measure() const {
  // Two independent Poisson counts are binomial given their sum.
  return [reference = reference_, n = static_cast<double>(trials())](const double* x) {
    const double of_sum = poisson_log_density(n, n);
    double sum = 0;
    for (std::size_t d = 0; d < reference.size(); ++d)
      sum += poisson_log_density(x[d], n * reference[d]) + poisson_log_density(n - x[d], n * (1 - reference[d])) - of_sum;
    return sum;
  };
}

// Half the row and half the mean: a probability of 0 or 1 at the start could never leave it.
void BinomialFamily::start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                              std::span<double> parameters) const {
  const MatrixView<double> probabilities = layout["probabilities"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d)
      probabilities(k, d) =
          (0.5 * rows(k, d) + 0.5 * summary.mean[static_cast<std::size_t>(d)]) / static_cast<double>(trials());
}

// A column that is constant in the sample need not be so in the data.
void BinomialFamily::soften_start(const Layout& layout, const DataSummary& summary, std::span<double> parameters) const {
  std::vector<double> overall = summary.mean;
  for (double& mean : overall) mean /= static_cast<double>(trials());
  soften(layout["probabilities"].matrix(parameters), overall);
}

Moments BinomialFamily::moments(const Layout& layout, std::span<const double> parameters) const {
  const auto n = static_cast<double>(trials());
  Moments moments{columns_, {}, {}};
  for (const double p : layout["probabilities"].in(parameters)) {
    moments.mean.push_back(n * p);
    moments.variance.push_back(n * p * (1 - p));
  }
  return moments;
}

BinomialFamily::DrawValue BinomialFamily::sampler(const Layout& layout, std::span<const double> parameters) const {
  const auto stored = layout["probabilities"].in(parameters);
  const auto probabilities = std::make_shared<const std::vector<double>>(stored.begin(), stored.end());
  return [probabilities, D = columns_, n = trials()](Index k, RandomKey key, Index row, double* out) {
    for (Index d = 0; d < D; ++d)
      out[d] = static_cast<double>(binomial(key, static_cast<std::uint64_t>(row),
                                            static_cast<std::uint32_t>(1 + d) * binomial_draws, n,
                                            (*probabilities)[static_cast<std::size_t>(k * D + d)]));
  };
}

void BinomialFamily::coefficients(const Layout& layout, std::span<const double> parameters,
                                  std::span<double> out) const {
  const MatrixView<const double> probabilities = layout["probabilities"].matrix(parameters);
  for (Index k = 0; k < components_; ++k) {
    double* eta = out.data() + k * coefficient_stride();
    eta[0] = 0;
    for (Index d = 0; d < columns_; ++d) {
      const double p = probabilities(k, d), q = reference_[static_cast<std::size_t>(d)];
      eta[1 + d] = std::max(log_ratio(p, q), log_of_zero);
      eta[1 + columns_ + d] = std::max(log_ratio(1 - p, 1 - q), log_of_zero);
    }
  }
}

}  // namespace tally
