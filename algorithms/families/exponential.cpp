#include "algorithms/families/exponential.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>

#include "algorithms/families/option_text.hpp"
#include "algorithms/families/parameter_fields.hpp"
#include "core/error.hpp"

namespace tally {

ExponentialFamily::ExponentialFamily(const ExponentialOptions& options, Index components, Index columns)
    : FamilyDefaults(components, columns, 1 + columns),
      options_(options),
      standardisation_(Standardisation::none(columns)) {
  if (!(options.min_mean > 0 && options.min_mean < 1)) throw UsageError("--min-mean must be above 0 and below 1");
}

std::map<std::string, std::string> ExponentialFamily::options() const {
  return {{"min_mean", option_text(options_.min_mean)}};
}

void ExponentialFamily::set_standardisation(const Standardisation& standardisation) {
  standardisation_ = standardisation;
}

double ExponentialFamily::kept(double mean, Index d) const {
  double of_column = 1;  // a column of zeros has none
  if (!standardisation_.reference.empty() && standardisation_.reference[static_cast<std::size_t>(d)] > 0)
    of_column = standardisation_.reference[static_cast<std::size_t>(d)] * standardisation_.scale(d);
  return std::max(mean, options_.min_mean * of_column);
}

void ExponentialFamily::set_defaults(const Layout& layout, std::span<double> parameters) const {
  const MatrixView<double> rates = layout["rates"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d) rates(k, d) = standardisation_.unit(d);
}

void ExponentialFamily::maximize(const Layout& statistics_layout, std::span<const double> statistics, double,
                                 const Layout& layout, std::span<double> parameters) const {
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  const MatrixView<double> rates = layout["rates"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_ && moments(k, 0) > 0; ++d)
      rates(k, d) = 1 / kept(moments(k, 1 + d) / moments(k, 0), d);
}

double ExponentialFamily::objective_in_user_units(double objective, double weight) const {
  for (const int exponent : standardisation_.exponent) objective -= weight * exponent * std::numbers::ln2;
  return objective;
}

void ExponentialFamily::describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const {
  Array& described = arrays["rates"] = {layout["rates"].shape, {}};
  for (const double rate : layout["rates"].in(parameters)) {
    const auto d = static_cast<Index>(described.values.size()) % columns_;
    described.values.push_back(rate * standardisation_.scale(d));
  }
}

void ExponentialFamily::read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const {
  const Array* const given = find_given(arrays, layout["rates"]);
  if (!given) return;
  const auto rates = layout["rates"].in(parameters);
  for (std::size_t i = 0; i < rates.size(); ++i) {
    if (!(given->values[i] > 0)) throw DataError("start parameter 'rates' has a value that is not above 0");
    rates[i] = given->values[i] * standardisation_.unit(static_cast<Index>(i) % columns_);
  }
}

// Means of half the row and half the mean: a row of zeros is no mean.
void ExponentialFamily::start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                                 std::span<double> parameters) const {
  const MatrixView<double> rates = layout["rates"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d) {
      const double mean = 0.5 * rows(k, d) + 0.5 * summary.mean[static_cast<std::size_t>(d)];
      rates(k, d) = 1 / kept(mean * standardisation_.scale(d), d);
    }
}

void ExponentialFamily::soften_start(const Layout& layout, const DataSummary& summary,
                                     std::span<double> parameters) const {
  const MatrixView<double> rates = layout["rates"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d) {
      const double overall = summary.mean[static_cast<std::size_t>(d)] * standardisation_.scale(d);
      rates(k, d) = 1 / kept((1 - start_softening) / rates(k, d) + start_softening * overall, d);
    }
}

Moments ExponentialFamily::moments(const Layout& layout, std::span<const double> parameters) const {
  NamedArrays arrays;
  describe(layout, parameters, arrays);
  Moments moments{columns_, {}, {}};
  for (const double rate : arrays["rates"].values) {
    moments.mean.push_back(1 / rate);
    moments.variance.push_back(1 / (rate * rate));
  }
  return moments;
}

ExponentialFamily::DrawValue ExponentialFamily::sampler(const Layout& layout,
                                                        std::span<const double> parameters) const {
  NamedArrays arrays;
  describe(layout, parameters, arrays);
  const auto rates = std::make_shared<const std::vector<double>>(std::move(arrays["rates"].values));
  return [rates, D = columns_](Index k, RandomKey key, Index row, double* out) {
    for (Index d = 0; d < D; ++d) {
      const double u = uniform(key, static_cast<std::uint64_t>(row), static_cast<std::uint32_t>(1 + d));
      out[d] = -std::log(u) / (*rates)[static_cast<std::size_t>(k * D + d)];
    }
  };
}

void ExponentialFamily::coefficients(const Layout& layout, std::span<const double> parameters,
                                     std::span<double> out) const {
  const MatrixView<const double> rates = layout["rates"].matrix(parameters);
  for (Index k = 0; k < components_; ++k) {
    double* eta = out.data() + k * coefficient_stride();
    eta[0] = 0;
    for (Index d = 0; d < columns_; ++d) {
      eta[0] += std::log(rates(k, d));
      eta[1 + d] = -rates(k, d);
    }
  }
}

}  // namespace tally
