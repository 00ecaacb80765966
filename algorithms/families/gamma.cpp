#include "algorithms/families/gamma.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>

#include "algorithms/families/gamma_functions.hpp"
#include "algorithms/families/option_text.hpp"
#include "algorithms/families/parameter_fields.hpp"
#include "core/draws.hpp"
#include "core/error.hpp"

namespace tally {

GammaFamily::GammaFamily(const GammaOptions& options, Index components, Index columns)
    : FamilyDefaults(components, columns, 1 + 2 * columns),
      options_(options),
      standardisation_(Standardisation::none(columns)) {
  if (!(options.max_shape > 0 && options.max_shape <= 1e12)) throw UsageError("--max-shape must be above 0 and at most 1e12");
}

std::map<std::string, std::string> GammaFamily::options() const {
  return {{"max_shape", option_text(options_.max_shape)}};
}

std::vector<double> GammaFamily::bounds(const DataSummary& summary) const {
  double largest = 1;
  for (Index d = 0; d < columns_; ++d) {
    const double smallest = summary.minimum[static_cast<std::size_t>(d)] * standardisation_.scale(d);
    if (smallest > 0) largest = std::max(largest, -std::log(smallest));
  }
  return {largest};
}

void GammaFamily::set_defaults(const Layout& layout, std::span<double> parameters) const {
  const MatrixView<double> shapes = layout["shapes"].matrix(parameters), scales = layout["scales"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d) {
      shapes(k, d) = 1;
      scales(k, d) = standardisation_.scale(d);
    }
}

void GammaFamily::maximize(const Layout& statistics_layout, std::span<const double> statistics, double,
                           const Layout& layout, std::span<double> parameters,
                           const std::set<std::string>& frozen) const {
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  const MatrixView<double> shapes = layout["shapes"].matrix(parameters), scales = layout["scales"].matrix(parameters);
  const double least = log_minus_digamma(options_.max_shape);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_ && moments(k, 0) > 0; ++d) {
      const double mean = moments(k, 1 + d) / moments(k, 0), mean_log = moments(k, 1 + columns_ + d) / moments(k, 0);
      if (!(mean > 0)) continue;  // of posterior weights that are next to nothing
      if (!frozen.contains("shapes")) {
        const double spread = std::log(mean) - mean_log;
        const double shape = frozen.contains("scales") ? inverse_digamma(mean_log - std::log(scales(k, d)))
                             : spread > least          ? inverse_log_minus_digamma(spread)
                                                       : options_.max_shape;
        shapes(k, d) = std::min(shape, options_.max_shape);
      }
      scales(k, d) = mean / shapes(k, d);
    }
}

Index GammaFamily::free_parameters(const std::set<std::string>& frozen) const {
  const Index fields = (frozen.contains("shapes") ? 0 : 1) + (frozen.contains("scales") ? 0 : 1);
  return fields * components_ * columns_;
}

double GammaFamily::objective_in_user_units(double objective, double weight) const {
  for (const int exponent : standardisation_.exponent) objective -= weight * exponent * std::numbers::ln2;
  return objective;
}

void GammaFamily::describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const {
  describe_field(layout["shapes"], parameters, arrays);
  Array& scales = arrays["scales"] = {layout["scales"].shape, {}};
  for (const double scale : layout["scales"].in(parameters))
    scales.values.push_back(scale * standardisation_.unit(static_cast<Index>(scales.values.size()) % columns_));
}

void GammaFamily::read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const {
  for (const char* name : {"shapes", "scales"}) {
    const Array* const given = find_given(arrays, layout[name]);
    if (!given) continue;
    const bool is_scale = std::string(name) == "scales";
    const auto values = layout[name].in(parameters);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!(given->values[i] > 0)) throw DataError("start parameter '" + std::string(name) + "' has a value that is not above 0");
      values[i] = given->values[i] * (is_scale ? standardisation_.scale(static_cast<Index>(i) % columns_) : 1);
    }
  }
}

void GammaFamily::set_by_moments(double mean, double variance, double& shape, double& scale) const {
  shape = variance > 0 ? std::min(mean * (mean / variance), options_.max_shape) : options_.max_shape;
  scale = mean / shape;
}

void GammaFamily::start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                           std::span<double> parameters) const {
  const MatrixView<double> shapes = layout["shapes"].matrix(parameters), scales = layout["scales"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d) {
      const double unit = standardisation_.scale(d);
      set_by_moments(rows(k, d) * unit, summary.variance[static_cast<std::size_t>(d)] * unit * unit, shapes(k, d),
                     scales(k, d));
    }
}

void GammaFamily::soften_start(const Layout& layout, const DataSummary& summary, std::span<double> parameters) const {
  const MatrixView<double> shapes = layout["shapes"].matrix(parameters), scales = layout["scales"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d) {
      const double unit = standardisation_.scale(d), mean = shapes(k, d) * scales(k, d);
      const double overall = summary.variance[static_cast<std::size_t>(d)] * unit * unit;
      set_by_moments(mean, (1 - start_softening) * mean * scales(k, d) + start_softening * overall, shapes(k, d), scales(k, d));
    }
}

Moments GammaFamily::moments(const Layout& layout, std::span<const double> parameters) const {
  NamedArrays arrays;
  describe(layout, parameters, arrays);
  const std::vector<double>&shapes = arrays["shapes"].values, &scales = arrays["scales"].values;
  Moments moments{columns_, {}, {}};
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    moments.mean.push_back(shapes[i] * scales[i]);
    moments.variance.push_back(shapes[i] * scales[i] * scales[i]);
  }
  return moments;
}

GammaFamily::DrawValue GammaFamily::sampler(const Layout& layout, std::span<const double> parameters) const {
  const auto arrays = std::make_shared<NamedArrays>();
  describe(layout, parameters, *arrays);
  return [arrays, shapes = arrays->at("shapes").values.data(), scales = arrays->at("scales").values.data(),
          D = columns_](Index k, RandomKey key, Index row, double* out) {
    for (Index d = 0; d < D; ++d) {
      const Index at = k * D + d;
      const double value =
          scales[at] * gamma(key, static_cast<std::uint64_t>(row), static_cast<std::uint32_t>(1 + d) * gamma_draws, shapes[at]);
      out[d] = std::max(value, std::numeric_limits<double>::min());
    }
  };
}

// With m = a s and r(a) = log Gamma(a) - (a log(a) - a) the constant is a (1 - log(m)) - r(a).
void GammaFamily::coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out) const {
  const MatrixView<const double> shapes = layout["shapes"].matrix(parameters),
                                 scales = layout["scales"].matrix(parameters);
  for (Index k = 0; k < components_; ++k) {
    double* eta = out.data() + k * coefficient_stride();
    eta[0] = 0;
    for (Index d = 0; d < columns_; ++d) {
      const double a = shapes(k, d), s = scales(k, d);
      eta[0] += a * (1 - std::log(a * s)) - log_gamma_rest(a);
      eta[1 + d] = -1 / s;
      eta[1 + columns_ + d] = a - 1;
    }
  }
}

}  // namespace tally
