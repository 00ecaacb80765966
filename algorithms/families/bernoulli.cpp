#include "algorithms/families/bernoulli.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "algorithms/families/option_text.hpp"
#include "algorithms/families/parameter_fields.hpp"

namespace tally {

BernoulliFamily::BernoulliFamily(const BernoulliOptions& options, Index components, Index columns)
    : OutcomeProbabilities(options.alpha, components, columns), missing_values_(options.missing_values) {}

std::map<std::string, std::string> BernoulliFamily::options() const {
  std::map<std::string, std::string> words = {{"alpha", option_text(alpha_)}};
  if (missing_values_) words["missing"] = "nan";
  return words;
}

// Half the row and half the mean: a probability of 0 or 1 at the start could never leave it.
void BernoulliFamily::start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                               std::span<double> parameters) const {
  const MatrixView<double> probabilities = layout["probabilities"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d)
      probabilities(k, d) = 0.5 * rows(k, d) + 0.5 * summary.mean[static_cast<std::size_t>(d)];
}

// A column that is constant in the sample need not be so in the data.
void BernoulliFamily::soften_start(const Layout& layout, const DataSummary& summary,
                                   std::span<double> parameters) const {
  soften(layout["probabilities"].matrix(parameters), summary.mean);
}

Moments BernoulliFamily::moments(const Layout& layout, std::span<const double> parameters) const {
  const auto probabilities = layout["probabilities"].in(parameters);
  Moments moments{columns_, {probabilities.begin(), probabilities.end()}, {}};
  for (const double p : probabilities) moments.variance.push_back(p * (1 - p));
  return moments;
}

BernoulliFamily::DrawValue BernoulliFamily::sampler(const Layout& layout, std::span<const double> parameters) const {
  const auto stored = layout["probabilities"].in(parameters);
  const auto probabilities = std::make_shared<std::vector<double>>(stored.begin(), stored.end());
  return [probabilities, D = columns_](Index k, RandomKey key, Index row, double* out) {
    for (Index d = 0; d < D; ++d) {
      const double u = uniform(key, static_cast<std::uint64_t>(row), static_cast<std::uint32_t>(1 + d));
      out[d] = u < (*probabilities)[static_cast<std::size_t>(k * D + d)] ? 1 : 0;
    }
  };
}

void BernoulliFamily::coefficients(const Layout& layout, std::span<const double> parameters,
                                   std::span<double> out) const {
  const MatrixView<const double> probabilities = layout["probabilities"].matrix(parameters);
  for (Index k = 0; k < components_; ++k) {
    double* eta = out.data() + k * coefficient_stride();
    eta[0] = 0;
    for (Index d = 0; d < columns_; ++d) {
      eta[1 + d] = std::max(std::log(probabilities(k, d)), log_of_zero);
      eta[1 + columns_ + d] = std::max(std::log1p(-probabilities(k, d)), log_of_zero);
    }
  }
}

}  // namespace tally
