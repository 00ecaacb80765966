// The M-step of GaussianFamily.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "algorithms/degenerate.hpp"
#include "algorithms/families/gaussian.hpp"
#include "algorithms/families/packed_index.hpp"
#include "algorithms/families/shared_covariances.hpp"
#include "algorithms/families/singular_covariance.hpp"
#include "core/blas.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

bool is_empty(double count, double total_weight) { return !(count > empty_fraction * total_weight); }

// Numbers of one component's covariance; tied, of the one that all have.
Index size_of(CovarianceForm form, Index columns) {
  switch (form) {
    case CovarianceForm::full:
    case CovarianceForm::tied: return columns * columns;
    case CovarianceForm::diag: return columns;
    case CovarianceForm::spherical: return 1;
  }
  return 0;
}

}  // namespace

// A component's part of the sums; an empty one has none.
struct GaussianFamily::Sums {
  double count;
  const double* linear;     // (D)
  const double* quadratic;  // as T(x) has them
  const double* shift;      // (D), of the parameters' mean from what the sums are about
  const double* mean;       // (D), of the parameters
  bool about_other_mean;    // not the rows' own

  // What a mean product of columns a and b loses when it is taken about `mean`.
  double about_mean(Index a, Index b) const {
    return about_other_mean ? linear[a] / count * shift[b] + shift[a] * (linear[b] / count - shift[b]) : shift[a] * shift[b];
  }
};

void GaussianFamily::maximize(const Layout& statistics_layout, std::span<const double> statistics,
                              double total_weight, const Layout& layout, std::span<double> parameters,
                              const std::set<std::string>& frozen) const {
  const Index K = components_, D = columns_;
  const GaussianPrior& prior = options_.prior;
  const bool means_frozen = frozen.contains("means"), covariances_frozen = frozen.contains("covariances");
  const bool shared = shares_parts(options_.covariance) && !covariances_frozen;
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  const MatrixView<double> means = layout["means"].matrix(parameters);
  const std::span<double> covariances = layout["covariances"].in(parameters);
  std::vector<double> previous, counts, second(static_cast<std::size_t>(D)), seconds, all_shifts(static_cast<std::size_t>(K * D));
  const MatrixView<double> shifts(all_shifts.data(), K, D);
  if (shared) {
    previous.assign(covariances.begin(), covariances.end());
    counts.assign(static_cast<std::size_t>(K), 0.0);
    seconds.assign(static_cast<std::size_t>(K * D), 0.0);
  }
  for (Index k = 0; k < K; ++k) {
    const bool empty = is_empty(moments(k, 0), total_weight);
    const Sums sums{empty ? 0 : moments(k, 0), moments.row(k) + 1, moments.row(k) + 1 + D, shifts.row(k), means.row(k),
                    means_frozen || prior.on_means()};
    const bool moves = !means_frozen && (!empty || prior.on_means()), about_mean = are_about_mean(statistics_layout, statistics, k);
    for (Index d = 0; d < D; ++d) {
      const double kappa = prior.mean_precision, rows = sums.count + kappa;  // a prior is about the data's mean, which is 0
      if (!about_mean) {
        if (moves) means(k, d) = empty ? 0 : sums.linear[d] / rows;
        shifts(k, d) = means(k, d);
      } else if (moves) {
        shifts(k, d) = empty ? -means(k, d) : (sums.linear[d] - kappa * means(k, d)) / rows;
        means(k, d) += shifts(k, d);
      }
    }
    if (covariances_frozen || form_ == CovarianceForm::tied || (empty && !prior.on_covariances())) continue;
    const auto size = static_cast<std::size_t>(size_of(form_, D));
    const auto own = covariances.subspan(static_cast<std::size_t>(k) * size, size);
    maximize_covariance(sums, own, second);
    if (!shared || needs_own_volumes(options_.covariance)) check_covariance(k, own, second);
    if (!shared) continue;
    counts[static_cast<std::size_t>(k)] = sums.count;
    std::copy(second.begin(), second.end(), seconds.begin() + k * D);
  }
  if (covariances_frozen) return;
  if (form_ == CovarianceForm::tied)
    maximize_tied(moments, scatter_of(statistics_layout, statistics), total_weight, shifts, means,
                  means_frozen || prior.on_means(), covariances);
  if (!shared) return;
  share_covariances(options_.covariance, {counts, seconds, previous, D}, covariances);
  check_shared(counts, seconds, covariances);
}

std::vector<double> GaussianFamily::scatter_of(const Layout& statistics_layout, std::span<const double> statistics) const {
  if (has_tied_kernel()) {
    const auto summed = statistics_layout["scatter"].in(statistics);
    return {summed.begin(), summed.end()};
  }
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  std::vector<double> scatter(static_cast<std::size_t>(packed()));
  for (Index k = 0; k < components_; ++k)
    for (Index p = 0; p < packed(); ++p) scatter[static_cast<std::size_t>(p)] += moments(k, 1 + columns_ + p);
  return scatter;
}

// Zeros, which are the columns' means, stood for what is missing: it varies as much as all that is observed.
void GaussianFamily::complete_start(MatrixView<double> moments, MatrixView<const double> missing) const {
  const Index D = columns_;
  for (Index d = 0; d < D; ++d) {
    const Index place = 1 + D + packed_index(d, d, D);
    double squares = 0, weight = 0;
    for (Index k = 0; k < components_; ++k) {
      squares += moments(k, place);
      weight += moments(k, 0) - missing(k, d);
    }
    for (Index k = 0; k < components_ && weight > 0; ++k) moments(k, place) += missing(k, d) * squares / weight;
  }
}

// A component without a value of some column at the start has the mean and the variance of all rows there.
void GaussianFamily::complete(const Layout& statistics_layout, std::span<double> statistics, const Layout& layout,
                              std::span<const double> parameters) const {
  const Index K = components_, D = columns_, P = width();
  const bool diag = form_ == CovarianceForm::diag;
  const MatrixView<double> moments = statistics_layout["moments"].matrix(statistics);
  if (has_full_kernel()) {
    complete_start(moments, statistics_layout["missing"].matrix(std::span<const double>(statistics)));
    return;
  }
  std::vector<double> all(static_cast<std::size_t>(moments.cols));
  for (Index k = 0; k < K && parameters.empty(); ++k)
    for (Index j = 0; j < moments.cols; ++j) all[static_cast<std::size_t>(j)] += moments(k, j);
  // Of row `sums` of the moments: the mean of column d, and the second moment about it, of all columns where they share one.
  const auto mean_of = [&](const double* sums, Index d) { return sums[P + d] > 0 ? sums[1 + d] / sums[P + d] : 0.0; };
  const auto variance_of = [&](const double* sums, Index d) {
    double squares = sums[1 + D + (diag ? d : 0)], weight = 0;
    for (Index b = diag ? d : 0; b < (diag ? d + 1 : D); ++b) {
      squares -= mean_of(sums, b) * sums[1 + b];
      weight += sums[P + b];
    }
    return weight > 0 ? std::max(squares / weight, 0.0) : 0.0;
  };
  for (Index k = 0; k < K; ++k) {
    double* const sums = moments.row(k);
    const std::vector<double> before(sums, sums + moments.cols);
    for (Index d = 0; d < D; ++d) {
      const double missing = sums[0] - sums[P + d];
      if (!(missing > 0)) continue;
      double mean, variance;
      if (parameters.empty()) {
        const double* const known = before[static_cast<std::size_t>(P + d)] > 0 ? before.data() : all.data();
        mean = mean_of(known, d);
        variance = variance_of(known, d);
      } else {
        mean = layout["means"].matrix(parameters)(k, d);
        variance = layout["covariances"].in(parameters)[static_cast<std::size_t>(diag ? k * D + d : k)];
      }
      sums[1 + d] += missing * mean;
      sums[1 + D + (diag ? d : 0)] += missing * (mean * mean + variance);
    }
  }
}

void GaussianFamily::maximize_covariance(const Sums& sums, std::span<double> covariance, std::span<double> second) const {
  const Index D = columns_;
  const double count = sums.count, rows = prior_rows(), kappa = options_.prior.mean_precision;
  // Of rows that `value` is the mean of, each `each` rows of the density, with what the priors add.
  const auto with_prior = [&](double value, double each, double squares, double scale) {
    if (rows == 0) return value;
    return ((count > 0 ? each * count * value : 0) + kappa * squares + scale) / (each * count + rows);
  };
  switch (form_) {
    case CovarianceForm::tied: break;
    case CovarianceForm::full: {
      const MatrixView<double> S(covariance.data(), D, D);
      for (Index a = 0; a < D; ++a)
        for (Index b = a; b < D; ++b) {
          const double moment = sums.quadratic[packed_index(a, b, D)] / count;
          S(a, b) = S(b, a) =
              with_prior(moment - sums.about_mean(a, b), 1, sums.mean[a] * sums.mean[b], a == b ? prior_scale(a) : 0);
          if (a != b) continue;
          second[static_cast<std::size_t>(a)] = moment;
          S(a, a) += reg(a);
        }
      break;
    }
    case CovarianceForm::diag:
      for (Index d = 0; d < D; ++d) {
        const double moment = sums.quadratic[d] / count;
        second[static_cast<std::size_t>(d)] = moment;
        covariance[static_cast<std::size_t>(d)] =
            with_prior(moment - sums.about_mean(d, d), 1, sums.mean[d] * sums.mean[d], prior_scale(d)) + reg(d);
      }
      break;
    case CovarianceForm::spherical: {
      const auto width = static_cast<double>(D);
      double norm = 0, squares = 0, scale = 0;
      for (Index d = 0; d < D; ++d) {
        norm += sums.about_mean(d, d);
        squares += sums.mean[d] * sums.mean[d];
        scale += prior_scale(d) / width;
      }
      second[0] = sums.quadratic[0] / count / width;
      covariance[0] = with_prior(second[0] - norm / width, width, squares, scale) + reg(0);
      break;
    }
  }
  // An empty component has what its prior says, exactly.
  if (!(count > 0)) std::fill(second.begin(), second.end(), 0.0);
}

void GaussianFamily::maximize_tied(MatrixView<const double> moments, std::span<const double> scatter, double total_weight,
                                   MatrixView<const double> shifts, MatrixView<const double> means, bool about_other_means,
                                   std::span<double> covariance) const {
  const Index D = columns_;
  const double rows = prior_rows(), kappa = options_.prior.mean_precision;
  std::vector<double> pooled(scatter.begin(), scatter.end()), second(static_cast<std::size_t>(D));
  for (Index k = 0; k < components_; ++k) {
    const bool empty = is_empty(moments(k, 0), total_weight);
    const double count = moments(k, 0);
    const double* s = shifts.row(k);
    const double* f = moments.row(k) + 1;
    for (Index a = 0; a < D; ++a)
      for (Index b = a; b < D; ++b) {
        double& sum = pooled[static_cast<std::size_t>(packed_index(a, b, D))];
        if (!empty) sum -= about_other_means ? f[a] * s[b] + s[a] * (f[b] - count * s[b]) : f[a] * s[b];
        if (rows > 0) sum += kappa * means(k, a) * means(k, b);
      }
  }
  const MatrixView<double> S(covariance.data(), D, D);
  for (Index a = 0; a < D; ++a) {
    second[static_cast<std::size_t>(a)] = scatter[static_cast<std::size_t>(packed_index(a, a, D))] / total_weight;
    for (Index b = a; b < D; ++b) {
      double& sum = pooled[static_cast<std::size_t>(packed_index(a, b, D))];
      if (a == b) sum += prior_scale(a);
      S(a, b) = S(b, a) = sum / (total_weight + rows) + (a == b ? reg(a) : 0);
    }
  }
  factor_of(covariance, D, second, -1, "tied");
}

std::vector<Index> GaussianFamily::collapsed_columns(const Layout& statistics_layout, std::span<const double> statistics,
                                                     const Layout& layout, std::span<const double> parameters,
                                                     const std::set<std::string>& frozen) const {
  const Index K = components_, D = columns_;
  std::vector<Index> result(static_cast<std::size_t>(K), -1);
  if (form_ == CovarianceForm::tied || shares_parts(options_.covariance) || options_.prior.on_covariances() ||
      frozen.contains("covariances"))
    return result;
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  const MatrixView<const double> means = layout["means"].matrix(parameters);
  const bool means_frozen = frozen.contains("means");
  std::vector<double> all_origins(static_cast<std::size_t>(K * D));
  const MatrixView<double> origins(all_origins.data(), K, D);
  for (Index k = 0; k < K; ++k)
    if (are_about_mean(statistics_layout, statistics, k)) std::copy_n(means.row(k), D, origins.row(k));
  const std::vector<Index> columns = varying_columns(moments, origins);
  std::vector<double> shift(static_cast<std::size_t>(D)), mean(shift);
  for (Index k = 0; k < K; ++k) {
    const double count = moments(k, 0);
    if (!(count > 0)) continue;
    for (Index d = 0; d < D; ++d)
      shift[static_cast<std::size_t>(d)] = means_frozen ? means(k, d) - origins(k, d) : moments(k, 1 + d) / count;
    for (Index d = 0; d < D; ++d) mean[static_cast<std::size_t>(d)] = origins(k, d) + shift[static_cast<std::size_t>(d)];
    const Sums sums{count, moments.row(k) + 1, moments.row(k) + 1 + D, shift.data(), mean.data(), means_frozen};
    result[static_cast<std::size_t>(k)] = collapsed_column(sums, columns);
  }
  return result;
}

// Those in which the data vary by more than the ridge: where none of the components can, none has collapsed.
std::vector<Index> GaussianFamily::varying_columns(MatrixView<const double> moments, MatrixView<const double> origins) const {
  const bool spherical = form_ == CovarianceForm::spherical;
  std::vector<Index> columns;
  for (Index d = 0; d < (spherical ? 1 : columns_); ++d) {
    const Index place = 1 + columns_ + (form_ == CovarianceForm::full ? packed_index(d, d, columns_) : d);
    double weight = 0, moment = 0, squares = 0;
    for (Index k = 0; k < moments.rows; ++k) {
      weight += moments(k, 0);
      moment += moments(k, place);
    }
    for (Index b = spherical ? 0 : d; b < (spherical ? columns_ : d + 1); ++b) {
      double linear = 0;
      for (Index k = 0; k < moments.rows; ++k) {
        linear += moments(k, 1 + b) + moments(k, 0) * origins(k, b);
        moment += origins(k, b) * (2 * moments(k, 1 + b) + moments(k, 0) * origins(k, b));
      }
      squares += std::pow(linear / weight, 2);
    }
    moment /= weight;
    const double width = spherical ? static_cast<double>(columns_) : 1.0;
    if ((moment - squares) / width > std::max(reg(d), moment_rounding * moment / width)) columns.push_back(d);
  }
  return columns;
}

// Of the own covariance, without the ridge, by its Cholesky factor over these columns.
Index GaussianFamily::collapsed_column(const Sums& sums, std::span<const Index> columns) const {
  const Index D = columns_;
  std::vector<double> covariance(static_cast<std::size_t>(size_of(form_, D))), second(static_cast<std::size_t>(D));
  maximize_covariance(sums, covariance, second);
  const auto least = [&](Index d) { return std::max(reg(d), moment_rounding * second[static_cast<std::size_t>(d)]); };
  if (form_ != CovarianceForm::full) {
    for (const Index d : columns)
      if (!(covariance[static_cast<std::size_t>(d)] - reg(d) > least(d))) return d;
    return -1;
  }
  std::vector<double> matrix, floors;
  for (const Index a : columns) {
    for (const Index b : columns) matrix.push_back(covariance[static_cast<std::size_t>(a * D + b)] - (a == b ? reg(a) : 0));
    floors.push_back(least(a));
  }
  if (columns.empty()) return -1;
  const auto varying = static_cast<Index>(columns.size());
  const double relative = 2 * static_cast<double>(D) * std::numeric_limits<double>::epsilon();
  const Index found = first_small_pivot({matrix.data(), varying, varying}, relative, floors);
  return found < 0 ? -1 : columns[static_cast<std::size_t>(found)];
}

void GaussianFamily::split(const Layout& layout, std::span<double> parameters, Index from, Index to) const {
  const Index D = columns_;
  const MatrixView<double> means = layout["means"].matrix(parameters);
  const std::span<double> covariances = layout["covariances"].in(parameters);
  const Index size = size_of(form_, D);
  const std::span<double> own = form_ == CovarianceForm::tied
                                    ? covariances
                                    : covariances.subspan(static_cast<std::size_t>(from * size), static_cast<std::size_t>(size));
  std::vector<double> step(static_cast<std::size_t>(D));  // from the mean to either half: half a deviation
  switch (form_) {
    case CovarianceForm::full:
    case CovarianceForm::tied: {
      std::vector<double> axes(own.begin(), own.end()), values(static_cast<std::size_t>(D));
      if (!blas::symmetric_eigen({axes.data(), D, D}, values))
        throw DataError("the eigenvalues of component " + std::to_string(from) + "'s covariance do not converge");
      const double* longest = axes.data() + (D - 1) * D;
      // The sign that LAPACK gives is of no account, but should be the same everywhere.
      const double sign = *std::max_element(longest, longest + D, [](double a, double b) { return std::abs(a) < std::abs(b); });
      for (Index d = 0; d < D; ++d)
        step[static_cast<std::size_t>(d)] = std::copysign(0.5 * std::sqrt(values.back()), sign) * longest[d];
      break;
    }
    case CovarianceForm::diag: {
      const auto widest = std::max_element(own.begin(), own.end()) - own.begin();
      step[static_cast<std::size_t>(widest)] = 0.5 * std::sqrt(own[static_cast<std::size_t>(widest)]);
      break;
    }
    // No one column, which may be constant.
    case CovarianceForm::spherical:
      std::fill(step.begin(), step.end(), 0.5 * std::sqrt(own[0] / static_cast<double>(D)));
      break;
  }
  const bool shrinks = !shares_parts(options_.covariance);
  if (shrinks && form_ == CovarianceForm::spherical) own[0] -= step[0] * step[0];
  for (Index a = 0; a < D; ++a) {
    const auto i = static_cast<std::size_t>(a);
    means(to, a) = means(from, a) + step[i];
    means(from, a) -= step[i];
    if (shrinks && form_ == CovarianceForm::diag) own[i] -= step[i] * step[i];
    for (Index b = 0; b < D && shrinks && form_ == CovarianceForm::full; ++b)
      own[static_cast<std::size_t>(a * D + b)] -= step[i] * step[static_cast<std::size_t>(b)];
  }
  if (form_ == CovarianceForm::full) factor_of(own, D, {}, from, "full");
  if (form_ != CovarianceForm::tied) std::copy(own.begin(), own.end(), covariances.begin() + to * size);
}

double GaussianFamily::prior_scale(Index d) const {
  const std::vector<double>& scales = options_.prior.covariance;
  if (!options_.prior.on_covariances() || scales.empty()) return 0;
  const double unit = standardisation_.scale(d);
  return scales[scales.size() == 1 ? 0 : static_cast<std::size_t>(d)] * unit * unit;
}

// -1/2 of these times log det S, or log s, are in the log-densities of the priors: of an inverse Wishart nu + D + 1, of an
// inverse gamma of shape nu / 2 nu + 2, of the normal of each mean 1, or D where its columns share s.
double GaussianFamily::prior_rows() const {
  const GaussianPrior& prior = options_.prior;
  const auto D = static_cast<double>(columns_);
  const bool wishart = form_ == CovarianceForm::full || form_ == CovarianceForm::tied;
  const double of_covariance = prior.on_covariances() ? prior.degrees_of_freedom + (wishart ? D + 1 : 2) : 0;
  if (!prior.on_means()) return of_covariance;
  if (form_ == CovarianceForm::tied) return of_covariance + static_cast<double>(components_);
  return of_covariance + (form_ == CovarianceForm::spherical ? D : 1);
}

void GaussianFamily::check_covariance(Index component, std::span<const double> covariance,
                                      std::span<const double> second) const {
  if (form_ == CovarianceForm::full) {
    factor_of(covariance, columns_, second, component, "full");
    return;
  }
  for (std::size_t d = 0; d < covariance.size(); ++d)
    check_variance(covariance[d], second[d], component, static_cast<Index>(d), to_string(options_.covariance));
}

// What was shared among components has the rounding errors of all of their second moments (K, D).
void GaussianFamily::check_shared(std::span<const double> counts, std::span<const double> seconds,
                                  std::span<const double> covariances) const {
  const auto D = static_cast<std::size_t>(columns_), size = covariances.size() / counts.size();
  std::vector<double> largest(D);
  for (std::size_t i = 0; i < seconds.size(); ++i) largest[i % D] = std::max(largest[i % D], seconds[i]);
  for (std::size_t k = 0; k < counts.size(); ++k)
    if (counts[k] > 0) check_covariance(static_cast<Index>(k), covariances.subspan(k * size, size), largest);
}

}  // namespace tally
