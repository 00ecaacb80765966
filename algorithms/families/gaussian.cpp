#include "algorithms/families/gaussian.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>

#include "algorithms/families/option_text.hpp"
#include "algorithms/families/shared_covariances.hpp"
#include "core/blas.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

constexpr double log_two_pi = 1.8378770664093454836;
// A component that holds less than this fraction of all weight keeps its parameters: its sums have no digits left.
constexpr double empty_fraction = 0x1p-60;

std::vector<double> matrix_of(std::span<const double> values) { return {values.begin(), values.end()}; }

[[noreturn]] void singular(Index component, Index column, const char* which) {
  const std::string whose =
      component < 0 ? "the " + std::string(which) + " covariance" : "the covariance of component " + std::to_string(component);
  throw DataError(whose + " is singular in column " + std::to_string(column) +
                  " (both counted from 0): the column is constant there or a combination of earlier columns, or the "
                  "component collapsed; use a larger --reg-covar, fewer components, or leave the column out");
}

// The lower Cholesky factor of `covariance` (D, D), refused where a pivot is no more than rounding error: of the
// factorisation, about D eps times the variance, or of the second moment that the variance was left of.
std::vector<double> factor_of(std::span<const double> covariance, Index D, std::span<const double> moments,
                              Index component, const char* which) {
  std::vector<double> factor = matrix_of(covariance);
  const MatrixView<double> L(factor.data(), D, D);
  const Index failed = blas::cholesky(L);
  if (failed > 0) singular(component, failed - 1, which);
  const double eps = std::numeric_limits<double>::epsilon();
  for (Index d = 0; d < D; ++d) {
    const auto i = static_cast<std::size_t>(d);
    const double variance = covariance[i * static_cast<std::size_t>(D) + i];
    const double moment = moments.empty() ? 0.0 : moments[i];
    if (!(L(d, d) * L(d, d) > 2 * static_cast<double>(D) * eps * variance + 4 * eps * moment))
      singular(component, d, which);
  }
  return factor;
}

void check_variance(double variance, double second_moment, Index component, Index column, const char* which) {
  if (!(variance > 4 * std::numeric_limits<double>::epsilon() * second_moment)) singular(component, column, which);
}

// Position of x_a x_b, a <= b, among the packed products.
Index packed_index(Index a, Index b, Index D) { return a * D - a * (a - 1) / 2 + (b - a); }

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

GaussianFamily::GaussianFamily(const GaussianOptions& options, Index components, Index columns)
    : options_(options),
      form_(form_of(options.covariance)),
      components_(components),
      columns_(columns),
      standardisation_(Standardisation::none(columns)) {
  if (!(options.reg_covar >= 0) || !std::isfinite(options.reg_covar))
    throw UsageError("--reg-covar must be a number from 0 on");
}

std::map<std::string, std::string> GaussianFamily::options() const {
  return {{"covariance", to_string(options_.covariance)}, {"reg_covar", option_text(options_.reg_covar)}};
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
  if (form_ == CovarianceForm::tied) {
    layout.add("moments", {components_, 1 + columns_});
    layout.add("scatter", {packed()});
  } else {
    layout.add("moments", {components_, width()});
  }
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
  const double bound = std::max({1.0, largest, squares});
  return std::vector<double>(form_ == CovarianceForm::tied ? 2 : 1, bound);
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

void GaussianFamily::maximize(const Layout& statistics_layout, std::span<const double> statistics,
                              double total_weight, const Layout& layout, std::span<double> parameters,
                              const std::set<std::string>& frozen) const {
  const Index K = components_, D = columns_;
  const bool means_frozen = frozen.contains("means"), covariances_frozen = frozen.contains("covariances");
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  const MatrixView<double> means = layout["means"].matrix(parameters);
  const std::span<double> covariances = layout["covariances"].in(parameters);
  std::vector<double> second(static_cast<std::size_t>(D));
  const bool tied = form_ == CovarianceForm::tied, shared = shares_parts(options_.covariance) && !covariances_frozen;
  const bool checked = !shared || needs_own_volumes(options_.covariance);
  std::vector<double> previous, counts, seconds;
  if (shared) {
    previous = matrix_of(covariances);
    counts.assign(static_cast<std::size_t>(K), 0.0);
    seconds.assign(static_cast<std::size_t>(K * D), 0.0);
  }
  std::vector<double> pooled;
  if (tied) {
    const auto scatter = statistics_layout["scatter"].in(statistics);
    pooled.assign(scatter.begin(), scatter.end());
  }
  for (Index k = 0; k < K; ++k) {
    const double count = moments(k, 0);
    const bool empty = !(count > empty_fraction * total_weight);
    if (!empty && !means_frozen)
      for (Index d = 0; d < D; ++d) means(k, d) = moments(k, 1 + d) / count;
    if (empty || covariances_frozen) continue;
    if (shared) counts[static_cast<std::size_t>(k)] = count;
    const double* m = means.row(k);
    const double* f = moments.row(k) + 1;
    if (tied) {
      for (Index a = 0; a < D; ++a)
        for (Index b = a; b < D; ++b)
          pooled[static_cast<std::size_t>(packed_index(a, b, D))] -=
              means_frozen ? f[a] * m[b] + m[a] * (f[b] - count * m[b]) : f[a] * m[b];
      continue;
    }
    // What a mean product of columns a and b loses when it is taken about m.
    const auto about_mean = [&](Index a, Index b) {
      return means_frozen ? f[a] / count * m[b] + m[a] * (f[b] / count - m[b]) : m[a] * m[b];
    };
    const double* q = moments.row(k) + 1 + D;
    if (form_ == CovarianceForm::full) {
      const MatrixView<double> S(covariances.data() + k * D * D, D, D);
      for (Index a = 0; a < D; ++a)
        for (Index b = a; b < D; ++b) {
          const double value = q[packed_index(a, b, D)] / count - about_mean(a, b);
          S(a, b) = S(b, a) = value;
          if (a == b) {
            second[static_cast<std::size_t>(a)] = q[packed_index(a, a, D)] / count;
            S(a, a) += reg(a);
          }
        }
      if (checked) factor_of(std::span<const double>(S.data, static_cast<std::size_t>(D * D)), D, second, k, "full");
    } else if (form_ == CovarianceForm::diag) {
      for (Index d = 0; d < D; ++d) {
        const double moment = q[d] / count;
        double& variance = covariances[static_cast<std::size_t>(k * D + d)];
        variance = moment - about_mean(d, d) + reg(d);
        second[static_cast<std::size_t>(d)] = moment;
        if (checked) check_variance(variance, moment, k, d, "diag");
      }
    } else {
      double norm = 0;
      for (Index d = 0; d < D; ++d) norm += about_mean(d, d);
      const double moment = q[0] / count / static_cast<double>(D);
      double& variance = covariances[static_cast<std::size_t>(k)];
      variance = moment - norm / static_cast<double>(D) + reg(0);
      second[0] = moment;
      if (checked) check_variance(variance, moment, k, 0, "spherical");
    }
    if (shared) std::copy(second.begin(), second.end(), seconds.begin() + k * D);
  }
  if (shared) {
    share_covariances(options_.covariance, {counts, seconds, previous, D}, covariances);
    check_shared(counts, seconds, covariances);
  }
  if (!tied || covariances_frozen) return;
  const auto scatter = statistics_layout["scatter"].in(statistics);
  const MatrixView<double> S(covariances.data(), D, D);
  for (Index a = 0; a < D; ++a) {
    second[static_cast<std::size_t>(a)] = scatter[static_cast<std::size_t>(packed_index(a, a, D))] / total_weight;
    for (Index b = a; b < D; ++b)
      S(a, b) = S(b, a) = pooled[static_cast<std::size_t>(packed_index(a, b, D))] / total_weight + (a == b ? reg(a) : 0);
  }
  factor_of(covariances, D, second, -1, "tied");
}

// What was shared among components has the rounding errors of all of their second moments (K, D).
void GaussianFamily::check_shared(std::span<const double> counts, std::span<const double> seconds,
                                  std::span<const double> covariances) const {
  const auto D = static_cast<std::size_t>(columns_), size = covariances.size() / counts.size();
  std::vector<double> largest(D);
  for (std::size_t i = 0; i < seconds.size(); ++i) largest[i % D] = std::max(largest[i % D], seconds[i]);
  for (std::size_t k = 0; k < counts.size(); ++k) {
    if (!(counts[k] > 0)) continue;
    const auto own = covariances.subspan(k * size, size);
    const auto component = static_cast<Index>(k);
    if (form_ == CovarianceForm::full) {
      factor_of(own, columns_, largest, component, "full");
    } else {
      for (std::size_t d = 0; d < size; ++d)
        check_variance(own[d], largest[d], component, static_cast<Index>(d), "diag");
    }
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
    if (!(variance[i] > 0)) singular(-1, d, "sample's");
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
  return form_ == CovarianceForm::tied ? 1 + columns_ : width();
}

Index GaussianFamily::coefficient_count() const noexcept {
  return components_ * coefficient_stride() + (form_ == CovarianceForm::tied ? packed() : 0);
}

void GaussianFamily::coefficients(const Layout& layout, std::span<const double> parameters,
                                  std::span<double> out) const {
  const Index K = components_, D = columns_, stride = coefficient_stride();
  const MatrixView<const double> means = layout["means"].matrix(parameters);
  const auto covariances = layout["covariances"].in(parameters);
  const bool full = form_ == CovarianceForm::full, tied = form_ == CovarianceForm::tied;
  std::vector<double> inverse, whitened(static_cast<std::size_t>(D));
  double log_determinant = 0;
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
      double* packed_out = full ? eta + 1 + D : out.data() + K * stride;
      for (Index a = 0; a < D; ++a)
        for (Index b = a; b < D; ++b) {
          double sum = 0;
          for (Index c = b; c < D; ++c) sum += L(c, a) * L(c, b);
          packed_out[packed_index(a, b, D)] = a == b ? -0.5 * sum : -sum;
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
        log_determinant += std::log(variance);
        quadratic += m[d] * m[d] / variance;
        eta[1 + d] = m[d] / variance;
        if (form_ == CovarianceForm::diag)
          eta[1 + D + d] = -0.5 / variance;
        else
          eta[1 + D] = -0.5 / variance;
      }
    }
    eta[0] = -0.5 * (static_cast<double>(D) * log_two_pi + log_determinant + quadratic);
  }
}

}  // namespace tally
