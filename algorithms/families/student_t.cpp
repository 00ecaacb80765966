#include "algorithms/families/student_t.hpp"

#include <limits>
#include <memory>
#include <numbers>

#include "algorithms/families/gamma_functions.hpp"
#include "algorithms/families/option_text.hpp"
#include "algorithms/families/parameter_fields.hpp"
#include "core/draws.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

constexpr double default_degrees = 10;
constexpr double least_degrees = 1e-2;

// What the Gaussian calls these parameters.
std::set<std::string> named_for_gaussian(const std::set<std::string>& frozen) {
  std::set<std::string> names;
  if (frozen.contains("means")) names.insert("means");
  if (frozen.contains("scales")) names.insert("covariances");
  return names;
}

}  // namespace

StudentTFamily::StudentTFamily(const StudentTOptions& options, Index components, Index columns)
    : max_degrees_(options.max_degrees), gaussian_(options.gaussian, components, columns) {
  if (gaussian_.form() == CovarianceForm::tied || shares_parts(options.gaussian.covariance))
    throw UsageError("student-t takes --covariance full, diag or spherical");
  if (!(max_degrees_ >= 1 && max_degrees_ <= 1e12)) throw UsageError("--max-degrees must be within 1 to 1e12");
  gaussian_.add_parameters(gaussian_parameters_);
  gaussian_.add_statistics(gaussian_statistics_);
}

std::map<std::string, std::string> StudentTFamily::options() const {
  auto options = gaussian_.options();
  options["max_degrees"] = option_text(max_degrees_);
  return options;
}

void StudentTFamily::add_parameters(Layout& layout) const {
  layout.add("means", gaussian_parameters_["means"].shape)
      .add("scales", gaussian_parameters_["covariances"].shape)
      .add("degrees_of_freedom", {components()});
}

void StudentTFamily::add_statistics(Layout& layout) const {
  layout.add("moments", {components(), 1}).add("spreads", {components()});
  layout.add("scaled_moments", {components(), gaussian_.width()});
}

// Of rows with degrees of freedom from 1 on; others may ask for wider grids.
std::vector<double> StudentTFamily::bounds(const DataSummary& summary) const {
  const auto most_precision = static_cast<double>(1 + columns());
  return {1, 64 + most_precision, most_precision * gaussian_.bounds(summary).front()};
}

void StudentTFamily::set_defaults(const Layout& layout, std::span<double> parameters) const {
  gaussian_.set_defaults(gaussian_parameters_, of_gaussian(layout, parameters));
  const auto degrees = layout["degrees_of_freedom"].in(parameters);
  std::fill(degrees.begin(), degrees.end(), std::min(default_degrees, max_degrees_));
}

// C. Liu, D. B. Rubin, Y. N. Wu, "Parameter expansion to accelerate EM: the PX-EM algorithm", 1998: the scales are means
// over weights r u rather than r, and u counts relative to its mean, which is 1 where EM stands still.
void StudentTFamily::maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                              const Layout& layout, std::span<double> parameters,
                              const std::set<std::string>& frozen) const {
  const auto weights = statistics_layout["moments"].in(statistics), spreads = statistics_layout["spreads"].in(statistics);
  const MatrixView<const double> moments = statistics_layout["scaled_moments"].matrix(statistics);
  const auto degrees = layout["degrees_of_freedom"].in(parameters);
  const double half_columns = 0.5 * static_cast<double>(columns());
  const double least = log_minus_digamma(0.5 * max_degrees_);
  for (std::size_t k = 0; k < degrees.size() && !frozen.contains("degrees_of_freedom"); ++k) {
    const double weight = weights[k], spread = spreads[k];
    if (!(weight > 0) || !(spread < 0)) continue;
    double information = log_minus_digamma(0.5 * degrees[k] + half_columns) - spread / weight;
    if (!frozen.contains("scales")) {
      const double beyond = (moments(static_cast<Index>(k), 0) - weight) / weight;
      information += std::log1p(beyond) - beyond;
    }
    degrees[k] = information > least ? std::clamp(2 * inverse_log_minus_digamma(information), least_degrees, max_degrees_)
                                     : max_degrees_;
  }
  gaussian_.maximize(gaussian_statistics_, statistics_layout["scaled_moments"].in(statistics), total_weight,
                     gaussian_parameters_, of_gaussian(layout, parameters), named_for_gaussian(frozen));
}

Index StudentTFamily::free_parameters(const std::set<std::string>& frozen) const {
  return gaussian_.free_parameters(named_for_gaussian(frozen)) +
         (frozen.contains("degrees_of_freedom") ? 0 : components());
}

void StudentTFamily::describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const {
  gaussian_.describe(gaussian_parameters_, of_gaussian(layout, parameters), arrays);
  arrays["scales"] = std::move(arrays["covariances"]);
  arrays.erase("covariances");
  describe_field(layout["degrees_of_freedom"], parameters, arrays);
}

void StudentTFamily::read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const {
  NamedArrays for_gaussian;
  for (const char* name : {"means", "scales"})
    if (const Array* const given = find_given(arrays, layout[name]))
      for_gaussian[std::string(name) == "scales" ? "covariances" : name] = *given;
  gaussian_.read(gaussian_parameters_, for_gaussian, of_gaussian(layout, parameters));
  const Array* const given = find_given(arrays, layout["degrees_of_freedom"]);
  if (!given) return;
  for (const double value : given->values)
    if (!(value >= least_degrees && value <= 1e12))
      throw DataError("start parameter 'degrees_of_freedom' has a value that is not within 0.01 to 1e12");
  std::copy(given->values.begin(), given->values.end(), layout["degrees_of_freedom"].in(parameters).begin());
}

void StudentTFamily::start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                              std::span<double> parameters) const {
  set_defaults(layout, parameters);
  gaussian_.start_at(gaussian_parameters_, rows, summary, of_gaussian(layout, parameters));
}

Moments StudentTFamily::moments(const Layout& layout, std::span<const double> parameters) const {
  Moments moments = gaussian_.moments(gaussian_parameters_, of_gaussian(layout, parameters));
  const auto degrees = layout["degrees_of_freedom"].in(parameters);
  for (std::size_t i = 0; i < moments.variance.size(); ++i) {
    const double nu = degrees[i / static_cast<std::size_t>(columns())];
    moments.variance[i] *= nu > 2 ? nu / (nu - 2) : std::numeric_limits<double>::infinity();
  }
  return moments;
}

StudentTFamily::DrawValue StudentTFamily::sampler(const Layout& layout, std::span<const double> parameters) const {
  const auto arrays = std::make_shared<NamedArrays>();
  describe(layout, parameters, *arrays);
  return [arrays, means = arrays->at("means").values.data(), degrees = arrays->at("degrees_of_freedom").values.data(),
          D = columns(), normal_value = gaussian_.sampler(gaussian_parameters_, of_gaussian(layout, parameters))](
             Index k, RandomKey key, Index row, double* out) {
    normal_value(k, key, row, out);
    const double half = 0.5 * degrees[k];
    const double precision = gamma(key, static_cast<std::uint64_t>(row), static_cast<std::uint32_t>(1 + D), half) / half;
    for (Index d = 0; d < D; ++d) out[d] = means[k * D + d] + (out[d] - means[k * D + d]) / std::sqrt(precision);
  };
}

// With r(a) = log Gamma(a) - (a log(a) - a), log Gamma((nu + D) / 2) - log Gamma(nu / 2) - D/2 log(nu / 2) keeps its digits where
// nu is large.
void StudentTFamily::coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out) const {
  const Index K = components(), P = gaussian_.width(), stride = coefficient_stride();
  const auto D = static_cast<double>(columns());
  std::vector<double> of_gaussians(static_cast<std::size_t>(K * P));
  gaussian_.coefficients(gaussian_parameters_, of_gaussian(layout, parameters), of_gaussians);
  const MatrixView<const double> means = layout["means"].matrix(parameters);
  const auto degrees = layout["degrees_of_freedom"].in(parameters);
  for (Index k = 0; k < K; ++k) {
    const double* const eta = of_gaussians.data() + k * P;
    double* const to = out.data() + k * stride;
    // The gradient of -q / 2 at 0 is S^-1 m.
    double quadratic = 0;
    for (Index d = 0; d < columns(); ++d) quadratic += eta[1 + d] * means(k, d);
    const double half = 0.5 * degrees[static_cast<std::size_t>(k)], half_with_columns = half + 0.5 * D;
    const double at_mode = eta[0] + 0.5 * quadratic;  // of the normal density: -D/2 log(2 pi) - 1/2 log|S|
    to[0] = at_mode + log_gamma_rest(half_with_columns) - log_gamma_rest(half) +
            half_with_columns * std::log1p(0.5 * D / half) - 0.5 * D;
    to[1] = degrees[static_cast<std::size_t>(k)];
    std::copy_n(eta, P, to + 2);
    to[2] = -0.5 * quadratic;
  }
}

}  // namespace tally
