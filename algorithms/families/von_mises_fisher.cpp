#include "algorithms/families/von_mises_fisher.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>
#include <numeric>

#include "algorithms/families/bessel_functions.hpp"
#include "algorithms/families/option_text.hpp"
#include "algorithms/families/parameter_fields.hpp"
#include "core/draws.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

double product(const double* a, const double* b, Index count) { return std::inner_product(a, a + count, b, 0.0); }

double length_of(std::span<const double> x) {
  return std::sqrt(product(x.data(), x.data(), static_cast<Index>(x.size())));
}

}  // namespace

VonMisesFisherFamily::VonMisesFisherFamily(const VonMisesFisherOptions& options, Index components, Index columns)
    : FamilyDefaults(components, columns, 1 + columns), options_(options) {
  if (columns < 2) throw UsageError("von-mises-fisher takes rows of two columns or more");
  if (!(options.max_concentration > 0 && options.max_concentration <= 1e10))
    throw UsageError("--max-concentration must be above 0 and at most 1e10");
}

std::map<std::string, std::string> VonMisesFisherFamily::options() const {
  return {{"max_concentration", option_text(options_.max_concentration)}};
}

double VonMisesFisherFamily::complement_of(double concentration) const {
  return bessel_ratio_complement(0.5 * static_cast<double>(columns_) - 1, concentration);
}

// Newton's method from the start of A. Banerjee and others, "Clustering on the unit hypersphere using von Mises-Fisher
// distributions", 2005, as S. Sra, "A short note on parameter approximation for von Mises-Fisher distributions", 2012.
double VonMisesFisherFamily::concentration_of(double complement) const {
  if (!(complement > complement_of(options_.max_concentration))) return options_.max_concentration;
  if (complement >= 1) return 0;
  constexpr int most_steps = 50;
  constexpr double converged = 4e-16;
  const auto D = static_cast<double>(columns_);
  const double R = 1 - complement;
  double kappa = R * (D - R * R) / (complement * (2 - complement));
  for (int step = 0; step < most_steps; ++step) {
    const double before = kappa, B = complement_of(kappa);
    kappa += (B - complement) / (B * (2 - B) - (D - 1) * (1 - B) / kappa);
    if (!(kappa > 0)) kappa = before / 2;
    if (std::abs(kappa - before) <= converged * kappa) break;
  }
  return std::min(kappa, options_.max_concentration);
}

void VonMisesFisherFamily::set_defaults(const Layout& layout, std::span<double> parameters) const {
  const MatrixView<double> directions = layout["mean_directions"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d) directions(k, d) = d == 0 ? 1 : 0;
  const auto concentrations = layout["concentrations"].in(parameters);
  std::fill(concentrations.begin(), concentrations.end(), 1.0);
}

void VonMisesFisherFamily::maximize(const Layout& statistics_layout, std::span<const double> statistics, double,
                                    const Layout& layout, std::span<double> parameters,
                                    const std::set<std::string>& frozen) const {
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  const MatrixView<double> directions = layout["mean_directions"].matrix(parameters);
  const auto concentrations = layout["concentrations"].in(parameters);
  for (Index k = 0; k < components_; ++k) {
    const double weight = moments(k, 0);
    if (!(weight > 0)) continue;
    const double* sum = moments.row(k) + 1;
    double length = length_of({sum, static_cast<std::size_t>(columns_)});
    if (frozen.contains("mean_directions"))
      length = product(directions.row(k), sum, columns_);
    else
      for (Index d = 0; d < columns_ && length > 0; ++d) directions(k, d) = sum[d] / length;
    concentrations[static_cast<std::size_t>(k)] = concentration_of((weight - length) / weight);
  }
}

Index VonMisesFisherFamily::free_parameters(const std::set<std::string>& frozen) const {
  return (frozen.contains("mean_directions") ? 0 : components_ * (columns_ - 1)) +
         (frozen.contains("concentrations") ? 0 : components_);
}

void VonMisesFisherFamily::describe(const Layout& layout, std::span<const double> parameters,
                                    NamedArrays& arrays) const {
  for (const char* name : {"mean_directions", "concentrations"}) describe_field(layout[name], parameters, arrays);
}

void VonMisesFisherFamily::read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const {
  if (const Array* const given = find_given(arrays, layout["mean_directions"])) {
    for (Index k = 0; k < components_; ++k)
      if (!domain().takes_length(given->values.data() + k * columns_, columns_))
        throw DataError("start parameter 'mean_directions' has a row that is no vector of length 1, of component " +
                        std::to_string(k));
    std::copy(given->values.begin(), given->values.end(), layout["mean_directions"].in(parameters).begin());
  }
  if (const Array* const given = find_given(arrays, layout["concentrations"])) {
    for (const double value : given->values)
      if (!(value >= 0 && value <= 1e10))
        throw DataError("start parameter 'concentrations' has a value that is not within 0 to 1e10");
    std::copy(given->values.begin(), given->values.end(), layout["concentrations"].in(parameters).begin());
  }
}

// Half as wide as the whole.
void VonMisesFisherFamily::start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                                    std::span<double> parameters) const {
  const MatrixView<double> directions = layout["mean_directions"].matrix(parameters);
  const auto concentrations = layout["concentrations"].in(parameters);
  const double concentration = concentration_of(0.5 * (1 - length_of(summary.mean)));
  for (Index k = 0; k < components_; ++k) {
    const double length = length_of({rows.row(k), static_cast<std::size_t>(columns_)});
    for (Index d = 0; d < columns_; ++d) directions(k, d) = rows(k, d) / length;
    concentrations[static_cast<std::size_t>(k)] = concentration;
  }
}

void VonMisesFisherFamily::soften_start(const Layout& layout, const DataSummary& summary,
                                        std::span<double> parameters) const {
  const double overall = 1 - length_of(summary.mean);
  for (double& concentration : layout["concentrations"].in(parameters))
    concentration = concentration_of((1 - start_softening) * complement_of(concentration) + start_softening * overall);
}

Moments VonMisesFisherFamily::moments(const Layout& layout, std::span<const double> parameters) const {
  const MatrixView<const double> directions = layout["mean_directions"].matrix(parameters);
  const auto concentrations = layout["concentrations"].in(parameters);
  const auto D = static_cast<double>(columns_);
  Moments moments{columns_, {}, {}};
  for (Index k = 0; k < components_; ++k) {
    const double kappa = concentrations[static_cast<std::size_t>(k)], B = complement_of(kappa), A = 1 - B;
    // The variance of a coordinate across the mean direction, and of that along it: A / kappa and 1 - A^2 - (D - 1) A / kappa.
    const double across = kappa > 0 ? A / kappa : 1 / D, along = std::max(B * (2 - B) - (D - 1) * across, 0.0);
    for (Index d = 0; d < columns_; ++d) {
      const double square = directions(k, d) * directions(k, d);
      moments.mean.push_back(A * directions(k, d));
      moments.variance.push_back(across * (1 - square) + along * square);
    }
  }
  return moments;
}

// A. T. A. Wood, "Simulation of the von Mises Fisher distribution", 1994: the height along the mean direction by rejection,
// written in terms of what it lacks to 1, and a uniform direction across.
VonMisesFisherFamily::DrawValue VonMisesFisherFamily::sampler(const Layout& layout,
                                                              std::span<const double> parameters) const {
  const auto arrays = std::make_shared<NamedArrays>();
  describe(layout, parameters, *arrays);
  return [arrays, directions = arrays->at("mean_directions").values.data(),
          concentrations = arrays->at("concentrations").values.data(),
          columns = columns_](Index k, RandomKey key, Index row, double* out) {
    const auto index = static_cast<std::uint64_t>(row);
    const auto first_draw = static_cast<std::uint32_t>(columns) + 1;
    const double kappa = concentrations[k], D = static_cast<double>(columns);
    const double b = (D - 1) / (2 * kappa + std::hypot(2 * kappa, D - 1)), x0 = (1 - b) / (1 + b);
    double lack = 0;  // 1 - height
    for (std::uint32_t attempt = 0; attempt < 64; ++attempt) {
      const std::uint32_t draw = first_draw + attempt * (2 * gamma_draws + 1);
      const double g = gamma(key, index, draw, 0.5 * (D - 1)), h = gamma(key, index, draw + gamma_draws, 0.5 * (D - 1));
      const double z = g / (g + h);
      lack = 2 * b * z / (1 - (1 - b) * z);
      const double log_ratio = kappa * (2 * b / (1 + b) - lack) +
                               (D - 1) * std::log((2 * b / (1 + b) + x0 * lack) * (1 + b) * (1 + b) / (4 * b));
      if (log_ratio >= std::log(uniform(key, index, draw + 2 * gamma_draws))) break;
    }
    const double* mu = directions + k * columns;
    for (Index d = 0; d < columns; ++d) out[d] = normal(key, index, static_cast<std::uint32_t>(1 + d));
    const double along = product(out, mu, columns);
    for (Index d = 0; d < columns; ++d) out[d] -= along * mu[d];
    const double length = length_of({out, static_cast<std::size_t>(columns)});
    const double across = length > 0 ? std::sqrt(lack * (2 - lack)) / length : 0;
    for (Index d = 0; d < columns; ++d) out[d] = (1 - lack) * mu[d] + across * out[d];
  };
}

void VonMisesFisherFamily::coefficients(const Layout& layout, std::span<const double> parameters,
                                        std::span<double> out) const {
  const MatrixView<const double> directions = layout["mean_directions"].matrix(parameters);
  const auto concentrations = layout["concentrations"].in(parameters);
  const double half = 0.5 * static_cast<double>(columns_);
  for (Index k = 0; k < components_; ++k) {
    const double kappa = concentrations[static_cast<std::size_t>(k)];
    double* eta = out.data() + k * coefficient_stride();
    eta[0] = -half * std::log(2 * std::numbers::pi) - log_scaled_bessel(half - 1, kappa) - kappa;
    for (Index d = 0; d < columns_; ++d) eta[1 + d] = kappa * directions(k, d);
  }
}

}  // namespace tally
