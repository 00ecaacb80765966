#include "algorithms/families/gaussian.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>

#include "algorithms/families/option_text.hpp"
#include "algorithms/families/packed_index.hpp"
#include "algorithms/families/singular_covariance.hpp"
#include "core/blas.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

constexpr double log_two_pi = 1.8378770664093454836;

std::vector<double> matrix_of(std::span<const double> values) { return {values.begin(), values.end()}; }

const Array* find(const NamedArrays& arrays, const std::string& name, const std::vector<Index>& shape) {
  const auto found = arrays.find(name);
  if (found == arrays.end()) return nullptr;
  if (found->second.shape != shape) {
    std::string wanted;
    for (const Index extent : shape) wanted += (wanted.empty() ? "" : ", ") + std::to_string(extent);
    throw DataError("start parameter '" + name + "' has the wrong shape: (" + wanted + ") is needed");
  }
  for (const double value : found->second.values)
    if (!std::isfinite(value)) throw DataError("start parameter '" + name + "' has a value that is not finite");
  return &found->second;
}

}  // namespace

GaussianFamily::GaussianFamily(const GaussianOptions& options, Index components, Index columns, bool about_means)
    : options_(options),
      form_(form_of(options.covariance)),
      components_(components),
      columns_(columns),
      about_means_(about_means && !options.missing_values),
      standardisation_(Standardisation::none(columns)) {
  if (!(options.reg_covar >= 0) || !std::isfinite(options.reg_covar))
    throw UsageError("--reg-covar must be a number from 0 on");
  check_prior();
}

void GaussianFamily::check_prior() const {
  const GaussianPrior& prior = options_.prior;
  const double kappa = prior.mean_precision, nu = prior.degrees_of_freedom;
  if (!(kappa >= 0) || !std::isfinite(kappa)) throw UsageError("--mean-precision-prior must be a number from 0 on");
  if (!(nu >= 0) || !std::isfinite(nu)) throw UsageError("--degrees-of-freedom-prior must be a number from 0 on");
  if (shares_parts(options_.covariance) && (prior.on_means() || prior.on_covariances()))
    throw UsageError(std::string("priors are for --covariance full, tied, diag and spherical, not ") +
                     to_string(options_.covariance));
  const bool wishart = form_ == CovarianceForm::full || form_ == CovarianceForm::tied;
  if (wishart && prior.on_covariances() && !(nu > static_cast<double>(columns_ - 1)))
    throw UsageError("--degrees-of-freedom-prior " + option_text(nu) + " is no inverse Wishart of " +
                     std::to_string(columns_) + " columns: more than " + std::to_string(columns_ - 1) + " are needed");
  if (prior.covariance.empty()) return;
  if (!prior.on_covariances())
    throw UsageError("--covariance-prior is the scale of a prior that --degrees-of-freedom-prior asks for");
  if (prior.covariance.size() != 1 && static_cast<Index>(prior.covariance.size()) != columns_)
    throw UsageError("--covariance-prior has " + std::to_string(prior.covariance.size()) +
                     " numbers: one is needed, or one for each of " + std::to_string(columns_) + " columns");
  for (const double scale : prior.covariance)
    if (!(scale > 0) || !std::isfinite(scale)) throw UsageError("--covariance-prior must be numbers above 0");
}

std::map<std::string, std::string> GaussianFamily::options() const {
  std::map<std::string, std::string> words = {{"covariance", to_string(options_.covariance)},
                                              {"reg_covar", option_text(options_.reg_covar)}};
  if (options_.missing_values) words["missing"] = "nan";
  const GaussianPrior& prior = options_.prior;
  if (prior.on_means()) words["mean_precision_prior"] = option_text(prior.mean_precision);
  if (prior.on_covariances()) words["degrees_of_freedom_prior"] = option_text(prior.degrees_of_freedom);
  for (const double scale : prior.covariance) {
    std::string& numbers = words["covariance_prior"];
    numbers += (numbers.empty() ? "" : ",") + option_text(scale);
  }
  return words;
}

std::map<std::string, std::string> GaussianFamily::options_from(const DataSummary& summary) const {
  if (!options_.prior.on_covariances() || !options_.prior.covariance.empty()) return {};
  const double share = std::pow(static_cast<double>(components_), -2 / static_cast<double>(columns_));
  std::string numbers;
  for (Index d = 0; d < columns_; ++d) {
    const double variance = summary.variance[static_cast<std::size_t>(d)];
    if (!(variance > 0))
      throw DataError("column " + std::to_string(d) + " (counted from 0) is constant, so that --covariance-prior has no "
                      "default: give it, or leave the column out");
    numbers += (numbers.empty() ? "" : ",") + option_text(variance * share);
  }
  return {{"covariance-prior", numbers}};
}

std::function<double(const double*)> GaussianFamily::log_base_measure() const {
  if (!options_.missing_values) return nullptr;
  return [exponents = standardisation_.exponent](const double* x) {
    Index sum = 0;
    for (std::size_t d = 0; d < exponents.size(); ++d) sum += std::isnan(x[d]) ? 0 : exponents[d];
    return -static_cast<double>(sum) * std::numbers::ln2;
  };
}

Scaling GaussianFamily::scaling() const noexcept {
  return needs_common_scale(options_.covariance) ? Scaling::common : Scaling::per_column;
}

double GaussianFamily::reg(Index d) const {
  const double scale = standardisation_.scale(d);
  return options_.reg_covar * scale * scale;
}

void GaussianFamily::add_parameters(Layout& layout) const {
  const Index K = components_, D = columns_;
  layout.add("means", {K, D});
  switch (form_) {
    case CovarianceForm::full: layout.add("covariances", {K, D, D}); break;
    case CovarianceForm::tied: layout.add("covariances", {D, D}); break;
    case CovarianceForm::diag: layout.add("covariances", {K, D}); break;
    case CovarianceForm::spherical: layout.add("covariances", {K}); break;
  }
}

Index GaussianFamily::width() const noexcept {
  switch (form_) {
    case CovarianceForm::full:
    case CovarianceForm::tied: return 1 + columns_ + packed();
    case CovarianceForm::diag: return 1 + 2 * columns_;
    case CovarianceForm::spherical: return 2 + columns_;
  }
  return 0;
}

void GaussianFamily::add_statistics(Layout& layout) const {
  if (has_tied_kernel()) {
    layout.add("moments", {components_, 1 + columns_});
    layout.add("scatter", {packed()});
  } else {
    layout.add("moments", {components_, moment_width()});
    if (completes_rows()) layout.add("missing", {components_, columns_});
  }
  if (about_means_) layout.add("about_means", {components_});
}

bool GaussianFamily::are_about_mean(const Layout& statistics_layout, std::span<const double> statistics, Index component) const {
  return about_means_ && statistics_layout["about_means"].in(statistics)[static_cast<std::size_t>(component)] > 0;
}

std::vector<double> GaussianFamily::bounds(const DataSummary& summary) const {
  double largest = 0, largest_norm = 0;
  for (Index d = 0; d < columns_; ++d) {
    const auto i = static_cast<std::size_t>(d);
    const double centre = standardisation_.centre[i], scale = standardisation_.scale(d);
    const double z = std::max(std::abs(summary.maximum[i] - centre), std::abs(summary.minimum[i] - centre)) * scale;
    largest = std::max(largest, z);
    largest_norm += z * z;
  }
  const double squares = form_ == CovarianceForm::spherical ? largest_norm : largest * largest;
  double bound = std::max({1.0, largest, squares});
  if (completes_rows()) bound *= 4;  // a guess: what is missing may be expected further out
  Layout statistics;
  add_statistics(statistics);
  std::vector<double> bounds(statistics.fields().size(), bound);
  if (about_means_) bounds.back() = std::min(1 / summary.largest_weight, 1e300);  // tiles are counted, whatever their rows weigh
  return bounds;
}

void GaussianFamily::set_defaults(const Layout& layout, std::span<double> parameters) const {
  const auto means = layout["means"].in(parameters);
  std::fill(means.begin(), means.end(), 0.0);
  const Index D = columns_;
  const auto covariances = layout["covariances"].in(parameters);
  const bool square = form_ == CovarianceForm::full || form_ == CovarianceForm::tied;
  for (std::size_t i = 0; i < covariances.size(); ++i) {
    const auto within = static_cast<Index>(i) % (D * D);
    covariances[i] = !square || within / D == within % D ? 1.0 : 0.0;
  }
}

Index GaussianFamily::free_parameters(const std::set<std::string>& frozen) const {
  const Index K = components_, D = columns_;
  const Index of_means = frozen.contains("means") ? 0 : K * D;
  if (frozen.contains("covariances")) return of_means;
  return of_means + free_parameters_of(options_.covariance, K, D);
}

// A density in x is that in z times 2^-exponent for every column.
double GaussianFamily::objective_in_user_units(double objective, double weight) const {
  if (options_.missing_values) return objective;  // the base measure has it
  double exponents = 0;
  for (const int exponent : standardisation_.exponent) exponents += exponent;
  return objective - weight * exponents * std::numbers::ln2;
}

std::vector<std::string> GaussianFamily::warnings(const DataSummary& summary) const {
  std::vector<std::string> words;
  for (Index d = 0; d < columns_; ++d) {
    const double variance = summary.variance[static_cast<std::size_t>(d)];
    if (variance > 0 && options_.reg_covar > 1e-3 * variance) {
      char text[200];
      std::snprintf(text, sizeof text,
                    "reg-covar %g is %.3g times the variance of column %lld (%g): it shapes the result; lower it or "
                    "scale the data",
                    options_.reg_covar, options_.reg_covar / variance, static_cast<long long>(d), variance);
      words.emplace_back(text);
      break;
    }
  }
  return words;
}

void GaussianFamily::describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const {
  const Index K = components_, D = columns_;
  const Standardisation& to = standardisation_;
  Array means{layout["means"].shape, matrix_of(layout["means"].in(parameters))};
  for (Index i = 0; i < K * D; ++i) {
    double& value = means.values[static_cast<std::size_t>(i)];
    value = value * to.unit(i % D) + to.centre[static_cast<std::size_t>(i % D)];
  }
  Array covariances{layout["covariances"].shape, matrix_of(layout["covariances"].in(parameters))};
  for (std::size_t i = 0; i < covariances.values.size(); ++i) {
    const auto n = static_cast<Index>(i);
    double& value = covariances.values[i];
    switch (form_) {
      case CovarianceForm::full:
      case CovarianceForm::tied: value = value * to.unit(n / D % D) * to.unit(n % D); break;
      case CovarianceForm::diag: value = value * to.unit(n % D) * to.unit(n % D); break;
      case CovarianceForm::spherical: value = value * to.unit(0) * to.unit(0); break;
    }
  }
  arrays["means"] = std::move(means);
  arrays["covariances"] = std::move(covariances);
}

void GaussianFamily::read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const {
  const Index D = columns_;
  const Standardisation& to = standardisation_;
  if (const Array* given = find(arrays, "means", layout["means"].shape)) {
    const auto means = layout["means"].in(parameters);
    for (std::size_t i = 0; i < means.size(); ++i) {
      const auto d = static_cast<Index>(i) % D;
      means[i] = (given->values[i] - to.centre[static_cast<std::size_t>(d)]) * to.scale(d);
    }
  }
  const Array* given = find(arrays, "covariances", layout["covariances"].shape);
  if (!given) return;
  const auto covariances = layout["covariances"].in(parameters);
  for (std::size_t i = 0; i < covariances.size(); ++i) {
    const auto n = static_cast<Index>(i);
    switch (form_) {
      case CovarianceForm::full:
      case CovarianceForm::tied: covariances[i] = given->values[i] * to.scale(n / D % D) * to.scale(n % D); break;
      case CovarianceForm::diag: covariances[i] = given->values[i] * to.scale(n % D) * to.scale(n % D); break;
      case CovarianceForm::spherical: covariances[i] = given->values[i] * to.scale(0) * to.scale(0); break;
    }
  }
  if (form_ == CovarianceForm::full || form_ == CovarianceForm::tied) {
    for (std::size_t first = 0; first < covariances.size(); first += static_cast<std::size_t>(D * D)) {
      const auto k = static_cast<Index>(first) / (D * D);
      const auto S = covariances.subspan(first, static_cast<std::size_t>(D * D));
      for (Index a = 0; a < D; ++a)
        for (Index b = 0; b < a; ++b) {
          double& lower = S[static_cast<std::size_t>(a * D + b)];
          double& upper = S[static_cast<std::size_t>(b * D + a)];
          if (std::abs(lower - upper) > 1e-8 * (std::abs(lower) + std::abs(upper)))
            throw DataError("start parameter 'covariances' is not symmetric in component " + std::to_string(k));
          lower = upper = 0.5 * (lower + upper);
        }
      factor_of(S, D, {}, form_ == CovarianceForm::tied ? -1 : k, "tied");
    }
  } else {
    for (const double variance : covariances)
      if (!(variance > 0)) throw DataError("start parameter 'covariances' has a variance that is not positive");
  }
}

void GaussianFamily::start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                              std::span<double> parameters) const {
  const Index K = components_, D = columns_;
  const MatrixView<double> means = layout["means"].matrix(parameters);
  std::vector<double> variance(static_cast<std::size_t>(D));
  double mean_variance = 0;
  for (Index d = 0; d < D; ++d) {
    const auto i = static_cast<std::size_t>(d);
    for (Index k = 0; k < K; ++k) means(k, d) = (rows(k, d) - standardisation_.centre[i]) * standardisation_.scale(d);
    variance[i] = summary.variance[i] * standardisation_.scale(d) * standardisation_.scale(d) + reg(d);
    if (!(variance[i] > 0)) refuse_singular(-1, d, "sample's");
    mean_variance += variance[i] / static_cast<double>(D);
  }
  const auto covariances = layout["covariances"].in(parameters);
  for (std::size_t i = 0; i < covariances.size(); ++i) {
    const auto n = static_cast<Index>(i);
    switch (form_) {
      case CovarianceForm::full:
      case CovarianceForm::tied: covariances[i] = n / D % D == n % D ? variance[static_cast<std::size_t>(n % D)] : 0; break;
      case CovarianceForm::diag: covariances[i] = variance[static_cast<std::size_t>(n % D)]; break;
      case CovarianceForm::spherical: covariances[i] = mean_variance; break;
    }
  }
}

Moments GaussianFamily::moments(const Layout& layout, std::span<const double> parameters) const {
  const Index K = components_, D = columns_;
  NamedArrays arrays;
  describe(layout, parameters, arrays);
  const std::vector<double>& covariances = arrays["covariances"].values;
  Moments moments{D, std::move(arrays["means"].values), {}};
  for (Index k = 0; k < K; ++k)
    for (Index d = 0; d < D; ++d) {
      Index place = k;
      switch (form_) {
        case CovarianceForm::full: place = (k * D + d) * D + d; break;
        case CovarianceForm::tied: place = d * D + d; break;
        case CovarianceForm::diag: place = k * D + d; break;
        case CovarianceForm::spherical: break;
      }
      moments.variance.push_back(covariances[static_cast<std::size_t>(place)]);
    }
  return moments;
}

GaussianFamily::DrawValue GaussianFamily::sampler(const Layout& layout, std::span<const double> parameters) const {
  const Index K = components_, D = columns_;
  // Lower factors (K, D, D), whatever the shape of the covariance.
  auto factors = std::make_shared<std::vector<double>>(static_cast<std::size_t>(K * D * D), 0.0);
  const auto covariances = layout["covariances"].in(parameters);
  for (Index k = 0; k < K; ++k) {
    double* out = factors->data() + k * D * D;
    if (form_ == CovarianceForm::full || form_ == CovarianceForm::tied) {
      const Index from = form_ == CovarianceForm::tied ? 0 : k * D * D;
      const auto factor = factor_of(
          covariances.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(D * D)), D, {}, k, "tied");
      std::copy(factor.begin(), factor.end(), out);
    } else {
      for (Index d = 0; d < D; ++d)
        out[d * D + d] = std::sqrt(covariances[static_cast<std::size_t>(
            form_ == CovarianceForm::diag ? k * D + d : k)]);
    }
  }
  const auto means = std::make_shared<std::vector<double>>(matrix_of(layout["means"].in(parameters)));
  return [factors, means, D, to = standardisation_](Index k, RandomKey key, Index row, double* out) {
    std::vector<double> noise(static_cast<std::size_t>(D));
    for (Index d = 0; d < D; ++d)
      noise[static_cast<std::size_t>(d)] =
          normal(key, static_cast<std::uint64_t>(row), static_cast<std::uint32_t>(1 + d));
    for (Index a = 0; a < D; ++a) {
      double z = (*means)[static_cast<std::size_t>(k * D + a)];
      for (Index b = 0; b <= a; ++b)
        z += (*factors)[static_cast<std::size_t>((k * D + a) * D + b)] * noise[static_cast<std::size_t>(b)];
      out[a] = z * to.unit(a) + to.centre[static_cast<std::size_t>(a)];
    }
  };
}

Index GaussianFamily::coefficient_stride() const noexcept {
  if (completes_rows()) return width() + columns_ * columns_;
  return has_tied_kernel() ? 1 + columns_ : moment_width();
}

Index GaussianFamily::coefficient_count() const noexcept {
  return components_ * coefficient_stride() + (has_tied_kernel() ? columns_ * columns_ : 0);
}

std::vector<Index> GaussianFamily::either_coefficients(const Layout& layout, std::span<const double> parameters,
                                                       std::span<double> out, double farthest) const {
  std::vector<Index> about_means =
      write_coefficients(layout, parameters, out, about_means_ ? farthest : std::numeric_limits<double>::infinity());
  if (form_ == CovarianceForm::tied && !about_means.empty()) return write_coefficients(layout, parameters, out, -1);
  return about_means;
}

std::vector<Index> GaussianFamily::write_coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out,
                                                      double farthest) const {
  const Index K = components_, D = columns_, stride = coefficient_stride();
  const MatrixView<const double> means = layout["means"].matrix(parameters);
  const auto covariances = layout["covariances"].in(parameters);
  const bool full = form_ == CovarianceForm::full, tied = form_ == CovarianceForm::tied;
  std::vector<double> inverse, whitened(static_cast<std::size_t>(D));
  double log_determinant = 0;
  std::vector<Index> about_means;
  for (Index k = 0; k < K; ++k) {
    double* eta = out.data() + k * stride;
    const double* m = means.row(k);
    double quadratic = 0;
    if (full || (tied && k == 0)) {
      const std::size_t from = full ? static_cast<std::size_t>(k * D * D) : 0;
      inverse = factor_of(covariances.subspan(from, static_cast<std::size_t>(D * D)), D, {}, full ? k : -1, "tied");
      const MatrixView<double> L(inverse.data(), D, D);
      log_determinant = 0;
      for (Index d = 0; d < D; ++d) log_determinant += 2 * std::log(L(d, d));
      blas::invert_lower(L);
      // -1/2 S^-1 packed, off-diagonal products counted twice: S^-1 = L^-T L^-1.
      for (Index a = 0; a < D && has_full_kernel(); ++a)
        for (Index b = a; b < D; ++b) {
          double sum = 0;
          for (Index c = b; c < D; ++c) sum += L(c, a) * L(c, b);
          eta[1 + D + packed_index(a, b, D)] = a == b ? -0.5 * sum : -sum;
        }
    }
    if (has_tied_kernel() && k == 0)
      for (Index a = 0; a < D; ++a)
        for (Index b = 0; b < D; ++b) {
          const auto at = static_cast<std::size_t>(a * D + b);
          out[static_cast<std::size_t>(K * stride) + at] = b <= a ? inverse[at] : 0;
        }
    if (completes_rows()) {
      if (tied && k > 0) std::copy_n(out.data() + 1 + D, packed(), eta + 1 + D);
      for (Index a = 0; a < D; ++a)
        for (Index b = 0; b < D; ++b) {
          const double entry = eta[1 + D + packed_index(std::min(a, b), std::max(a, b), D)];
          eta[width() + a * D + b] = a == b ? -2 * entry : -entry;
        }
    }
    if (full || tied) {
      const MatrixView<const double> L(inverse.data(), D, D);
      for (Index a = 0; a < D; ++a) {
        double sum = 0;
        for (Index b = 0; b <= a; ++b) sum += L(a, b) * m[b];
        whitened[static_cast<std::size_t>(a)] = sum;
        quadratic += sum * sum;
      }
      for (Index b = 0; b < D; ++b) {
        double sum = 0;
        for (Index a = b; a < D; ++a) sum += L(a, b) * whitened[static_cast<std::size_t>(a)];
        eta[1 + b] = sum;
      }
    } else {
      log_determinant = 0;
      for (Index d = 0; d < D; ++d) {
        const double variance =
            covariances[static_cast<std::size_t>(form_ == CovarianceForm::diag ? k * D + d : k)];
        if (observes_columns()) {
          eta[width() + d] = -0.5 * (log_two_pi + std::log(variance) + m[d] * m[d] / variance);
        } else {
          log_determinant += std::log(variance);
          quadratic += m[d] * m[d] / variance;
        }
        eta[1 + d] = m[d] / variance;
        if (form_ == CovarianceForm::diag)
          eta[1 + D + d] = -0.5 / variance;
        else
          eta[1 + D] = -0.5 / variance;
      }
    }
    eta[0] = observes_columns() ? 0 : -0.5 * (static_cast<double>(D) * log_two_pi + log_determinant + quadratic);
    if (!(quadratic > farthest)) continue;
    about_means.push_back(k);
    eta[0] = -0.5 * (static_cast<double>(D) * log_two_pi + log_determinant);
    std::copy_n(m, D, eta + 1);
    double* scale = eta + 1 + D;
    if (form_ == CovarianceForm::full)
      for (Index a = 0; a < D; ++a) scale = std::copy_n(inverse.data() + a * D, a + 1, scale);
    else if (form_ == CovarianceForm::diag)
      for (Index d = 0; d < D; ++d) scale[d] = 1 / std::sqrt(covariances[static_cast<std::size_t>(k * D + d)]);
    else if (form_ == CovarianceForm::spherical)
      scale[0] = 1 / std::sqrt(covariances[static_cast<std::size_t>(k)]);
  }
  return about_means;
}

}  // namespace tally
