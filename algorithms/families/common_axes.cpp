#include "algorithms/families/common_axes.hpp"

#include <algorithm>
#include <cmath>

namespace tally {
namespace {

using Numbers = std::vector<double>;

constexpr double smallest_angle = 1e-10;
constexpr int most_sweeps = 100;

// Row a becomes c a + s b, row b becomes c b - s a.
void rotate(double* a, double* b, Index length, Index step, double c, double s) {
  for (Index i = 0; i < length * step; i += step) {
    const double x = a[i], y = b[i];
    a[i] = c * x + s * y;
    b[i] = c * y - s * x;
  }
}

class Search {
 public:
  Search(std::vector<Numbers> covariances, std::span<const double> weights, bool one_volume,
         MatrixView<double> axes)
      : seen_(std::move(covariances)), weights_(weights), one_volume_(one_volume), axes_(axes) {
    for (Numbers& covariance : seen_) covariance = along_axes(covariance);
  }

  // Whether all variances are above 0.
  bool run() {
    double largest = 1;
    for (int sweep = 0; sweep < most_sweeps && largest > smallest_angle; ++sweep) {
      largest = 0;
      for (Index a = 0; a < D(); ++a)
        for (Index b = a + 1; b < D(); ++b) {
          if (!possible()) return false;
          largest = std::max(largest, std::abs(turn(a, b)));
        }
    }
    return possible();
  }

  std::vector<Numbers> variances() const {
    std::vector<Numbers> result;
    for (std::size_t k = 0; k < seen_.size(); ++k) {
      Numbers& of = result.emplace_back();
      for (Index d = 0; d < D(); ++d) of.push_back(entry(k, d, d));
    }
    return result;
  }

 private:
  Index D() const { return axes_.rows; }
  double entry(std::size_t k, Index a, Index b) const {
    return seen_[k][static_cast<std::size_t>(a * D() + b)];
  }

  // A S A'.
  Numbers along_axes(const Numbers& covariance) const {
    const MatrixView<const double> S(covariance.data(), D(), D());
    Numbers half(covariance.size()), result(covariance.size());
    for (Index a = 0; a < D(); ++a)
      for (Index c = 0; c < D(); ++c) {
        double sum = 0;
        for (Index b = 0; b < D(); ++b) sum += axes_(a, b) * S(b, c);
        half[static_cast<std::size_t>(a * D() + c)] = sum;
      }
    for (Index a = 0; a < D(); ++a)
      for (Index b = 0; b <= a; ++b) {
        double sum = 0;
        for (Index c = 0; c < D(); ++c) sum += half[static_cast<std::size_t>(a * D() + c)] * axes_(b, c);
        result[static_cast<std::size_t>(a * D() + b)] = result[static_cast<std::size_t>(b * D() + a)] = sum;
      }
    return result;
  }

  bool possible() const {
    for (std::size_t k = 0; k < seen_.size(); ++k)
      for (Index d = 0; d < D(); ++d)
        if (!(entry(k, d, d) > 0)) return false;
    return true;
  }

  double volume(std::size_t k) const {
    double sum = 0;
    for (Index d = 0; d < D(); ++d) sum += std::log(entry(k, d, d));
    return std::exp(sum / static_cast<double>(D()));
  }

  // With the variances of now held fixed, the angle in the plane of two axes that makes sum_k n_k tr(A S_k A' / variances)
  // smallest is that of P cos 2t + Q sin 2t. Returns it.
  double turn(Index a, Index b) {
    double P = 0, Q = 0;
    for (std::size_t k = 0; k < seen_.size(); ++k) {
      const double first = entry(k, a, a), second = entry(k, b, b);
      const double weight = weights_[k] * (one_volume_ ? volume(k) : 1.0) * (1 / first - 1 / second);
      P += weight * (first - second) / 2;
      Q += weight * entry(k, a, b);
    }
    if (Q == 0) return 0;
    const double angle = 0.5 * std::atan2(-Q, -P), c = std::cos(angle), s = std::sin(angle);
    for (Numbers& each : seen_) {
      rotate(each.data() + a * D(), each.data() + b * D(), D(), 1, c, s);
      rotate(each.data() + a, each.data() + b, D(), D(), c, s);
    }
    rotate(axes_.row(a), axes_.row(b), D(), 1, c, s);
    return angle;
  }

  std::vector<Numbers> seen_;  // covariances along the axes
  std::span<const double> weights_;
  bool one_volume_;
  MatrixView<double> axes_;
};

}  // namespace

std::vector<Numbers> find_common_axes(std::vector<Numbers> covariances, std::span<const double> weights,
                                      bool one_volume, MatrixView<double> axes) {
  Search search(std::move(covariances), weights, one_volume, axes);
  if (!search.run()) return {};
  return search.variances();
}

}  // namespace tally
