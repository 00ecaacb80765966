#include "algorithms/families/shared_covariances.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "algorithms/families/common_axes.hpp"
#include "algorithms/families/singular_covariance.hpp"
#include "core/blas.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

using Numbers = std::vector<double>;

// Iterations end where volumes change less, relatively.
constexpr double volume_tolerance = 1e-13;
constexpr int most_iterations = 1000;

[[noreturn]] void no_maximum(Covariance model, Index component) {
  throw DataError("covariances of " + std::string(to_string(model)) +
                  " have no largest likelihood: component " + std::to_string(component) +
                  " (counted from 0) has no volume, because a column is constant there or a combination of "
                  "others, or the " +
                  singular_advice);
}

// The components of count above 0 and their covariances.
struct Components {
  Covariance model;
  Index columns;
  std::vector<Index> index;
  Numbers count;
  double total = 0;

  Components(Covariance of, std::span<const double> counts, Index width) : model(of), columns(width) {
    for (std::size_t k = 0; k < counts.size(); ++k) {
      if (!(counts[k] > 0)) continue;
      index.push_back(static_cast<Index>(k));
      count.push_back(counts[k]);
      total += counts[k];
    }
  }
  std::size_t size() const { return index.size(); }
};

double geometric_mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += std::log(value);
  return std::exp(sum / static_cast<double>(values.size()));
}

bool is_positive(double value) { return value > 0 && std::isfinite(value); }
bool all_positive(std::span<const double> values) { return std::all_of(values.begin(), values.end(), is_positive); }

// Eigenvalues of a matrix (D, D), smallest first; `matrix` becomes its eigenvectors, a row each.
Numbers eigen(MatrixView<double> matrix) {
  Numbers values(static_cast<std::size_t>(matrix.rows));
  if (!blas::symmetric_eigen(matrix, values))
    throw DataError("the eigenvalues of a covariance do not converge");
  return values;
}

// Replaces variances (each D) along axes that are each component's own or common by those that share their shape (one A
// for all, volumes lambda_k) or their volume (one lambda, shapes A_k).
class Variances {
 public:
  Variances(const Components& of, std::vector<Numbers> values) : of_(of), values_(std::move(values)) {}

  const std::vector<Numbers>& values() const { return values_; }

  // lambda A = sum_k n_k S_k / n.
  void share_all() {
    Numbers mean(width());
    for (std::size_t k = 0; k < of_.size(); ++k)
      for (std::size_t d = 0; d < width(); ++d) mean[d] += of_.count[k] / of_.total * values_[k][d];
    std::fill(values_.begin(), values_.end(), mean);
  }

  // lambda A_k, det A_k = 1.
  void share_volume() {
    double volume = 0;
    Numbers own(of_.size());
    for (std::size_t k = 0; k < of_.size(); ++k) {
      if (!all_positive(values_[k])) no_maximum(of_.model, of_.index[k]);
      own[k] = geometric_mean(values_[k]);
      volume += of_.count[k] / of_.total * own[k];
    }
    for (std::size_t k = 0; k < of_.size(); ++k)
      for (double& value : values_[k]) value *= volume / own[k];
  }

  // lambda_k A, det A = 1: A is proportional to sum_k n_k S_k / lambda_k and lambda_k the mean of S_k / A, in turns from the
  // volumes given.
  void share_shape(Numbers volume) {
    for (std::size_t k = 0; k < of_.size(); ++k)
      if (!is_positive(volume[k])) volume[k] = mean_of(values_[k]);
    Numbers shape(width());
    double change = 1;
    for (int i = 0; i < most_iterations && change > volume_tolerance; ++i) {
      std::fill(shape.begin(), shape.end(), 0.0);
      for (std::size_t k = 0; k < of_.size(); ++k) {
        if (!is_positive(volume[k])) no_maximum(of_.model, of_.index[k]);
        for (std::size_t d = 0; d < width(); ++d)
          shape[d] += of_.count[k] / of_.total * values_[k][d] / volume[k];
      }
      if (!all_positive(shape)) no_maximum(of_.model, of_.index.front());
      const double size = geometric_mean(shape);
      for (double& value : shape) value /= size;
      change = 0;
      for (std::size_t k = 0; k < of_.size(); ++k) {
        double next = 0;
        for (std::size_t d = 0; d < width(); ++d)
          next += values_[k][d] / shape[d] / static_cast<double>(width());
        change = std::max(change, std::abs(next - volume[k]) / volume[k]);
        volume[k] = next;
      }
    }
    for (std::size_t k = 0; k < of_.size(); ++k)
      for (std::size_t d = 0; d < width(); ++d) values_[k][d] = volume[k] * shape[d];
  }

 private:
  std::size_t width() const { return values_.front().size(); }
  static double mean_of(const Numbers& values) {
    double sum = 0;
    for (const double value : values) sum += value / static_cast<double>(values.size());
    return sum;
  }

  const Components& of_;
  std::vector<Numbers> values_;
};

// Covariances (K, D, D) that share parts.
class Matrices {
 public:
  Matrices(const Components& of, const ComponentMoments& moments, std::span<double> covariances)
      : of_(of), previous_(moments.previous), seconds_(moments.seconds), covariances_(covariances) {}

  void share() {
    switch (of_.model) {
      case Covariance::VEE:
        return share_all_but_volume();
      case Covariance::EVV:
        return share_volume();
      case Covariance::EEV:
      case Covariance::VEV:
        return share_shape();
      default:
        return share_axes();
    }
  }

 private:
  Index D() const { return of_.columns; }
  std::size_t width() const { return static_cast<std::size_t>(of_.columns); }
  MatrixView<double> own(std::size_t k) const {
    return {covariances_.data() + of_.index[k] * D() * D(), D(), D()};
  }
  Numbers copy_of(std::span<const double> all, std::size_t k) const {
    const auto from = all.begin() + static_cast<std::ptrdiff_t>(of_.index[k] * D() * D());
    return {from, from + static_cast<std::ptrdiff_t>(D() * D())};
  }

  // The volume of a matrix by its Cholesky factor, which `matrix` becomes; 0 where it is singular.
  double factor(Numbers& matrix) const {
    const MatrixView<double> L(matrix.data(), D(), D());
    if (blas::cholesky(L) != 0) return 0;
    double sum = 0;
    for (Index d = 0; d < D(); ++d) sum += 2 * std::log(L(d, d));
    return std::exp(sum / static_cast<double>(D()));
  }
  Numbers previous_volumes() const {
    Numbers volumes;
    for (std::size_t k = 0; k < of_.size(); ++k) {
      Numbers matrix = copy_of(previous_, k);
      volumes.push_back(factor(matrix));
    }
    return volumes;
  }
  double trace_over_columns(std::size_t k) const {
    double sum = 0;
    for (Index d = 0; d < D(); ++d) sum += own(k)(d, d) / static_cast<double>(D());
    return sum;
  }

  // lambda_k C, det C = 1: C is proportional to sum_k n_k S_k / lambda_k and lambda_k = tr(S_k C^-1) / D, in turns.
  void share_all_but_volume() const {
    Numbers volume = previous_volumes();
    for (std::size_t k = 0; k < of_.size(); ++k)
      if (!(volume[k] > 0)) volume[k] = trace_over_columns(k);
    Numbers common(width() * width()), inverse;
    double change = 1;
    for (int i = 0; i < most_iterations && change > volume_tolerance; ++i) {
      std::fill(common.begin(), common.end(), 0.0);
      for (std::size_t k = 0; k < of_.size(); ++k) {
        if (!(volume[k] > 0)) no_maximum(of_.model, of_.index[k]);
        const double weight = of_.count[k] / of_.total / volume[k];
        const double* S = own(k).data;
        for (std::size_t j = 0; j < common.size(); ++j) common[j] += weight * S[j];
      }
      inverse = common;
      const double size = factor(inverse);
      if (!(size > 0)) no_maximum(of_.model, of_.index.front());
      for (double& value : common) value /= size;
      invert(inverse, 1 / size);
      change = 0;
      for (std::size_t k = 0; k < of_.size(); ++k) {
        const double* S = own(k).data;
        double next = 0;
        for (std::size_t j = 0; j < inverse.size(); ++j) next += S[j] * inverse[j] / static_cast<double>(D());
        change = std::max(change, std::abs(next - volume[k]) / volume[k]);
        volume[k] = next;
      }
    }
    for (std::size_t k = 0; k < of_.size(); ++k)
      for (std::size_t j = 0; j < common.size(); ++j) own(k).data[j] = volume[k] * common[j];
  }

  // A Cholesky factor L becomes (scale L L')^-1.
  void invert(Numbers& factor, double scale) const {
    const MatrixView<double> L(factor.data(), D(), D());
    blas::invert_lower(L);
    Numbers inverse(factor.size());
    const MatrixView<double> out(inverse.data(), D(), D());
    for (Index a = 0; a < D(); ++a)
      for (Index b = 0; b <= a; ++b) {
        double sum = 0;
        for (Index c = a; c < D(); ++c) sum += L(c, a) * L(c, b);
        out(a, b) = out(b, a) = sum / scale;
      }
    factor = std::move(inverse);
  }

  // lambda C_k, det C_k = 1, lambda = sum_k n_k det(S_k)^(1/D) / n.
  void share_volume() const {
    Numbers volume;
    double shared = 0;
    for (std::size_t k = 0; k < of_.size(); ++k) {
      Numbers matrix = copy_of(covariances_, k);
      volume.push_back(factor(matrix));
      if (!(volume[k] > 0)) no_maximum(of_.model, of_.index[k]);
      shared += of_.count[k] / of_.total * volume[k];
    }
    for (std::size_t k = 0; k < of_.size(); ++k)
      for (std::size_t j = 0; j < width() * width(); ++j) own(k).data[j] *= shared / volume[k];
  }

  // Each component's own eigenvectors; of their eigenvalues in order the shape is shared, the volume too or not.
  void share_shape() const {
    std::vector<Numbers> values;
    for (std::size_t k = 0; k < of_.size(); ++k) values.push_back(eigen(own(k)));
    Variances variances(of_, std::move(values));
    if (of_.model == Covariance::EEV)
      variances.share_all();
    else
      variances.share_shape(previous_volumes());
    for (std::size_t k = 0; k < of_.size(); ++k) {
      const Numbers axes(own(k).data, own(k).data + width() * width());
      compose(MatrixView<const double>(axes.data(), D(), D()), variances.values()[k], own(k));
    }
  }

  // sum_d variance_d a_d a_d' of axes a_d, a row each.
  static void compose(MatrixView<const double> axes, const Numbers& variance, MatrixView<double> out) {
    for (Index a = 0; a < out.rows; ++a)
      for (Index b = 0; b <= a; ++b) {
        double sum = 0;
        for (Index d = 0; d < out.rows; ++d)
          sum += variance[static_cast<std::size_t>(d)] * axes(d, a) * axes(d, b);
        out(a, b) = out(b, a) = sum;
      }
  }

  // Where to look for common axes from: those of the covariances before or, where these have none, of the pooled one.
  Numbers axes_to_start_from() const {
    Numbers axes(width() * width()), pooled(width() * width());
    for (std::size_t k = 0; k < of_.size(); ++k) {
      const Numbers before = copy_of(previous_, k);
      // No two of their eigenvalues' sums should be equal where those of one covariance differ.
      const double weight = of_.count[k] / of_.total * (1 + static_cast<double>(k) * std::numbers::phi / 16);
      for (std::size_t j = 0; j < axes.size(); ++j) {
        axes[j] += weight * before[j];
        pooled[j] += of_.count[k] / of_.total * own(k).data[j];
      }
    }
    if (is_round(axes)) axes = pooled;
    eigen(MatrixView<double>(axes.data(), D(), D()));
    return axes;
  }
  bool is_round(const Numbers& matrix) const {
    for (std::size_t a = 0; a < width(); ++a)
      for (std::size_t b = 0; b < width(); ++b)
        if (matrix[a * width() + b] != (a == b ? matrix[0] : 0.0)) return false;
    return true;
  }

  // lambda_k D A_k D' or lambda D A_k D'.
  void share_axes() const {
    Numbers axes = axes_to_start_from();
    std::vector<Numbers> seen;
    for (std::size_t k = 0; k < of_.size(); ++k) seen.push_back(copy_of(covariances_, k));
    const bool one_volume = of_.model == Covariance::EVE;
    std::vector<Numbers> along =
        find_common_axes(std::move(seen), of_.count, one_volume, MatrixView<double>(axes.data(), D(), D()));
    for (std::size_t k = 0; k < of_.size(); ++k)
      for (Index d = 0; d < D(); ++d)
        if (along.empty() || !(along[k][static_cast<std::size_t>(d)] >
                               rounding(k, MatrixView<double>(axes.data(), D(), D()).row(d))))
          no_maximum(of_.model, of_.index[along.empty() ? flattest() : k]);
    Variances variances(of_, std::move(along));
    if (one_volume) variances.share_volume();
    for (std::size_t k = 0; k < of_.size(); ++k)
      compose(MatrixView<const double>(axes.data(), D(), D()), variances.values()[k], own(k));
  }
  // Of the variance along an axis.
  double rounding(std::size_t k, const double* axis) const {
    double sum = 0;
    for (Index d = 0; d < D(); ++d)
      sum += axis[d] * axis[d] * seconds_[static_cast<std::size_t>(of_.index[k] * D() + d)];
    return moment_rounding * sum;
  }
  // The component with the smallest volume.
  std::size_t flattest() const {
    std::size_t result = 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t k = 0; k < of_.size(); ++k) {
      Numbers matrix = copy_of(covariances_, k);
      const double volume = factor(matrix);
      if (volume < least) {
        least = volume;
        result = k;
      }
    }
    return result;
  }

  const Components& of_;
  std::span<const double> previous_, seconds_;
  std::span<double> covariances_;
};

// One variance for each component (width 1) or one for each of its columns.
void share_variances(const Components& of, std::size_t width, std::span<const double> previous,
                     std::span<double> covariances) {
  const auto place = [&](std::size_t k) { return static_cast<std::size_t>(of.index[k]) * width; };
  std::vector<Numbers> values;
  Numbers volumes;
  for (std::size_t k = 0; k < of.size(); ++k) {
    const std::span<const double> own = covariances.subspan(place(k), width),
                                  before = previous.subspan(place(k), width);
    values.emplace_back(own.begin(), own.end());
    volumes.push_back(all_positive(before) ? geometric_mean(before) : 0.0);
  }
  Variances variances(of, std::move(values));
  if (of.model == Covariance::VEI)
    variances.share_shape(std::move(volumes));
  else if (of.model == Covariance::EVI)
    variances.share_volume();
  else
    variances.share_all();
  for (std::size_t k = 0; k < of.size(); ++k)
    std::copy(variances.values()[k].begin(), variances.values()[k].end(),
              covariances.begin() + static_cast<std::ptrdiff_t>(place(k)));
  if (of.model == Covariance::VEI || of.model == Covariance::EVI) return;
  const Numbers shared = variances.values().front();
  for (std::size_t from = 0; from < covariances.size(); from += width)
    std::copy(shared.begin(), shared.end(), covariances.begin() + static_cast<std::ptrdiff_t>(from));
}

}  // namespace

void share_covariances(Covariance model, const ComponentMoments& moments, std::span<double> covariances) {
  const Components of(model, moments.counts, moments.columns);
  if (of.size() == 0) return;
  if (form_of(model) == CovarianceForm::full)
    Matrices(of, moments, covariances).share();
  else
    share_variances(of, covariances.size() / moments.counts.size(), moments.previous, covariances);
}

}  // namespace tally
