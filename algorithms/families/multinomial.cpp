#include "algorithms/families/multinomial.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include "algorithms/families/option_text.hpp"
#include "algorithms/families/parameter_fields.hpp"
#include "algorithms/families/poisson_density.hpp"
#include "core/draws.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

double sum_of(std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); }

// What columns of these means are of their sum; equal shares where all are 0.
std::vector<double> shares_of(std::vector<double> means) {
  const double total = sum_of(means);
  for (double& mean : means) mean = total > 0 ? mean / total : 1 / static_cast<double>(means.size());
  return means;
}

}  // namespace

MultinomialFamily::MultinomialFamily(const MultinomialOptions& options, Index components, Index columns)
    : FamilyDefaults(components, columns, 1 + columns),
      options_(options),
      reference_(static_cast<std::size_t>(columns), 1 / static_cast<double>(columns)) {
  if (!(options.alpha >= 0) || !std::isfinite(options.alpha)) throw UsageError("--alpha must be a number from 0 on");
  if (options.trials < 0 || options.trials > most_trials)
    throw UsageError("--trials must be within 1 to " + std::to_string(most_trials));
}

std::map<std::string, std::string> MultinomialFamily::options() const {
  return {{"alpha", option_text(options_.alpha)}, {"trials", std::to_string(options_.trials)}};
}

std::map<std::string, std::string> MultinomialFamily::options_from(const DataSummary& summary) const {
  if (options_.trials > 0) return {};
  const double mean = std::clamp(std::round(sum_of(summary.mean)), 1.0, static_cast<double>(most_trials));
  return {{"trials", std::to_string(static_cast<Index>(mean))}};
}

void MultinomialFamily::set_standardisation(const Standardisation& standardisation) {
  // A column of zeros has a reference too.
  constexpr double smallest_reference = 0x1p-30;
  if (standardisation.reference.empty()) return;
  reference_ = shares_of(standardisation.reference);
  for (double& share : reference_) share = std::max(share, smallest_reference);
  reference_ = shares_of(std::move(reference_));
}

std::function<double(const double*)> MultinomialFamily::log_base_measure() const {
  // Independent Poisson counts are multinomial given their sum.
  return [reference = reference_](const double* x) {
    const double n = sum_of(std::span(x, reference.size()));
    if (!std::isfinite(n)) return -std::numeric_limits<double>::infinity();
    double sum = -poisson_log_density(n, n);
    for (std::size_t d = 0; d < reference.size(); ++d) sum += poisson_log_density(x[d], n * reference[d]);
    return sum;
  };
}

std::vector<double> MultinomialFamily::bounds(const DataSummary& summary) const {
  double largest = 1;
  for (const double value : summary.maximum) largest = std::max(largest, value);
  return {largest};
}

void MultinomialFamily::set_defaults(const Layout& layout, std::span<double> parameters) const {
  const auto probabilities = layout["probabilities"].in(parameters);
  std::fill(probabilities.begin(), probabilities.end(), 1 / static_cast<double>(columns_));
}

void MultinomialFamily::maximize(const Layout& statistics_layout, std::span<const double> statistics, double,
                                 const Layout& layout, std::span<double> parameters) const {
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  const MatrixView<double> probabilities = layout["probabilities"].matrix(parameters);
  for (Index k = 0; k < components_; ++k) {
    const std::span counts(moments.row(k) + 1, static_cast<std::size_t>(columns_));
    const double total = sum_of(counts);
    for (Index d = 0; d < columns_ && total > 0; ++d)
      probabilities(k, d) = (counts[static_cast<std::size_t>(d)] + options_.alpha) /
                            (total + static_cast<double>(columns_) * options_.alpha);
  }
}

void MultinomialFamily::describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const {
  describe_field(layout["probabilities"], parameters, arrays);
}

void MultinomialFamily::read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const {
  const Array* const given = find_given(arrays, layout["probabilities"]);
  if (!given) return;
  for (Index k = 0; k < components_; ++k) {
    const std::span row(given->values.data() + k * columns_, static_cast<std::size_t>(columns_));
    for (const double value : row)
      if (!(value >= 0)) throw DataError("start parameter 'probabilities' has a value below 0");
    if (const double sum = sum_of(row); !(std::abs(sum - 1) < 1e-6))
      throw DataError("start parameter 'probabilities' sums to " + std::to_string(sum) + " over the columns of component " +
                      std::to_string(k) + ", not to 1");
  }
  std::copy(given->values.begin(), given->values.end(), layout["probabilities"].in(parameters).begin());
}

// Half the row's shares and half those of all counts: a probability of 0 at the start could never leave it.
void MultinomialFamily::start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                                 std::span<double> parameters) const {
  const MatrixView<double> probabilities = layout["probabilities"].matrix(parameters);
  const std::vector<double> overall = shares_of(summary.mean);
  for (Index k = 0; k < components_; ++k) {
    const std::vector<double> own = shares_of({rows.row(k), rows.row(k) + columns_});
    for (Index d = 0; d < columns_; ++d)
      probabilities(k, d) = 0.5 * own[static_cast<std::size_t>(d)] + 0.5 * overall[static_cast<std::size_t>(d)];
  }
}

// A column that is all zero in the sample need not be so in the data.
void MultinomialFamily::soften_start(const Layout& layout, const DataSummary& summary,
                                     std::span<double> parameters) const {
  soften(layout["probabilities"].matrix(parameters), shares_of(summary.mean));
}

Moments MultinomialFamily::moments(const Layout& layout, std::span<const double> parameters) const {
  const auto n = static_cast<double>(options_.trials);
  Moments moments{columns_, {}, {}};
  for (const double p : layout["probabilities"].in(parameters)) {
    moments.mean.push_back(n * p);
    moments.variance.push_back(n * p * (1 - p));
  }
  return moments;
}

MultinomialFamily::DrawValue MultinomialFamily::sampler(const Layout& layout,
                                                        std::span<const double> parameters) const {
  const auto stored = layout["probabilities"].in(parameters);
  const auto probabilities = std::make_shared<const std::vector<double>>(stored.begin(), stored.end());
  // Each column is binomial given those before it.
  return [probabilities, D = columns_, trials = options_.trials](Index k, RandomKey key, Index row, double* out) {
    const std::span p(probabilities->data() + k * D, static_cast<std::size_t>(D));
    Index left = trials;
    double share_left = sum_of(p);
    for (Index d = 0; d < D; ++d) {
      const double share = p[static_cast<std::size_t>(d)];
      const double of_left = share_left > 0 ? std::min(share / share_left, 1.0) : 0;
      const Index drawn = d == D - 1 ? left
                                     : binomial(key, static_cast<std::uint64_t>(row),
                                                static_cast<std::uint32_t>(1 + d) * binomial_draws, left, of_left);
      out[d] = static_cast<double>(drawn);
      left -= drawn;
      share_left -= share;
    }
  };
}

void MultinomialFamily::coefficients(const Layout& layout, std::span<const double> parameters,
                                     std::span<double> out) const {
  const MatrixView<const double> probabilities = layout["probabilities"].matrix(parameters);
  for (Index k = 0; k < components_; ++k) {
    double* eta = out.data() + k * coefficient_stride();
    eta[0] = 0;
    for (Index d = 0; d < columns_; ++d)
      eta[1 + d] = std::max(log_ratio(probabilities(k, d), reference_[static_cast<std::size_t>(d)]), log_of_zero);
  }
}

}  // namespace tally
