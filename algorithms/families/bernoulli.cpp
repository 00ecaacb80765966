#include "algorithms/families/bernoulli.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "algorithms/families/option_text.hpp"
#include "algorithms/families/parameter_fields.hpp"
#include "core/error.hpp"

namespace tally {

BernoulliFamily::BernoulliFamily(const BernoulliOptions& options, Index components, Index columns)
    : FamilyDefaults(components, columns, 1 + 2 * columns), options_(options) {
  if (!(options.alpha >= 0) || !std::isfinite(options.alpha)) throw UsageError("--alpha must be a number from 0 on");
}

std::map<std::string, std::string> BernoulliFamily::options() const { return {{"alpha", option_text(options_.alpha)}}; }

void BernoulliFamily::set_defaults(const Layout& layout, std::span<double> parameters) const {
  const auto probabilities = layout["probabilities"].in(parameters);
  std::fill(probabilities.begin(), probabilities.end(), 0.5);
}

void BernoulliFamily::maximize(const Layout& statistics_layout, std::span<const double> statistics, double,
                               const Layout& layout, std::span<double> parameters) const {
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  const MatrixView<double> probabilities = layout["probabilities"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d) {
      const double ones = moments(k, 1 + d), zeros = moments(k, 1 + columns_ + d);
      if (ones + zeros > 0) probabilities(k, d) = (ones + options_.alpha) / (ones + zeros + 2 * options_.alpha);
    }
}

void BernoulliFamily::describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const {
  describe_field(layout["probabilities"], parameters, arrays);
}

void BernoulliFamily::read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const {
  const Array* const given = find_given(arrays, layout["probabilities"]);
  if (!given) return;
  for (const double value : given->values)
    if (!(value >= 0 && value <= 1))
      throw DataError("start parameter 'probabilities' has a value that is not within 0 to 1");
  std::copy(given->values.begin(), given->values.end(), layout["probabilities"].in(parameters).begin());
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
