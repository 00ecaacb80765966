#include "algorithms/families/poisson.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "algorithms/families/parameter_fields.hpp"
#include "algorithms/families/poisson_density.hpp"
#include "core/error.hpp"

namespace tally {

std::map<std::string, std::string> PoissonFamily::options() const {
  if (missing_values_) return {{"missing", "nan"}};
  return {};
}

void PoissonFamily::set_standardisation(const Standardisation& standardisation) {
  // A column of zeros has a reference too.
  constexpr double smallest_reference = 0x1p-30;
  for (std::size_t d = 0; d < standardisation.reference.size(); ++d)
    reference_[d] = std::max(standardisation.reference[d], smallest_reference);
}

std::function<double(const double*)> PoissonFamily::log_base_measure() const {
  return [reference = reference_](const double* x) {
    double sum = 0;
    for (std::size_t d = 0; d < reference.size(); ++d) sum += std::isnan(x[d]) ? 0 : poisson_log_density(x[d], reference[d]);
    return sum;
  };
}

std::vector<double> PoissonFamily::bounds(const DataSummary& summary) const {
  double largest = 1;
  for (const double value : summary.maximum) largest = std::max(largest, value);
  return {largest};
}

void PoissonFamily::set_defaults(const Layout& layout, std::span<double> parameters) const {
  const auto rates = layout["rates"].in(parameters);
  std::fill(rates.begin(), rates.end(), 1.0);
}

void PoissonFamily::maximize(const Layout& statistics_layout, std::span<const double> statistics, double,
                             const Layout& layout, std::span<double> parameters) const {
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  const MatrixView<double> rates = layout["rates"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d) {
      const double weight = moments(k, missing_values_ ? 1 + columns_ + d : 0);
      if (weight > 0) rates(k, d) = moments(k, 1 + d) / weight;
    }
}

double PoissonFamily::objective_in_user_units(double objective, double) const {
  return log_likelihood_of(objective);
}

void PoissonFamily::describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const {
  describe_field(layout["rates"], parameters, arrays);
}

void PoissonFamily::read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const {
  const Array* const given = find_given(arrays, layout["rates"]);
  if (!given) return;
  for (const double value : given->values)
    if (!(value >= 0)) throw DataError("start parameter 'rates' has a negative value");
  std::copy(given->values.begin(), given->values.end(), layout["rates"].in(parameters).begin());
}

// Half the row and half the mean: a rate of 0 at the start could never leave it.
void PoissonFamily::start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                             std::span<double> parameters) const {
  const MatrixView<double> rates = layout["rates"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d)
      rates(k, d) = 0.5 * rows(k, d) + 0.5 * summary.mean[static_cast<std::size_t>(d)];
}

// A column that is all zero in the sample need not be so in the data.
void PoissonFamily::soften_start(const Layout& layout, const DataSummary& summary, std::span<double> parameters) const {
  soften(layout["rates"].matrix(parameters), summary.mean);
}

Moments PoissonFamily::moments(const Layout& layout, std::span<const double> parameters) const {
  const auto stored = layout["rates"].in(parameters);
  const std::vector<double> rates(stored.begin(), stored.end());
  return {columns_, rates, rates};
}

PoissonFamily::DrawValue PoissonFamily::sampler(const Layout& layout, std::span<const double> parameters) const {
  const auto stored = layout["rates"].in(parameters);
  const auto rates = std::make_shared<std::vector<double>>(stored.begin(), stored.end());
  return [rates, D = columns_](Index k, RandomKey key, Index row, double* out) {
    for (Index d = 0; d < D; ++d)
      out[d] = static_cast<double>(poisson(key, static_cast<std::uint64_t>(row),
                                           static_cast<std::uint32_t>(1 + d) * poisson_draws,
                                           (*rates)[static_cast<std::size_t>(k * D + d)]));
  };
}

void PoissonFamily::coefficients(const Layout& layout, std::span<const double> parameters,
                                 std::span<double> out) const {
  const MatrixView<const double> rates = layout["rates"].matrix(parameters);
  for (Index k = 0; k < components_; ++k) {
    double* eta = out.data() + k * coefficient_stride();
    std::fill_n(eta, coefficient_stride(), 0.0);
    for (Index d = 0; d < columns_; ++d) {
      const double rate = rates(k, d), reference = reference_[static_cast<std::size_t>(d)];
      eta[missing_values_ ? 1 + columns_ + d : 0] -= rate - reference;
      eta[1 + d] = std::max(log_ratio(rate, reference), log_of_zero);
    }
  }
}

}  // namespace tally
