#include "algorithms/families/centroid.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/error.hpp"

namespace tally {

std::vector<double> CentroidFamily::bounds(const DataSummary& summary) const {
  double largest = 1;
  for (Index d = 0; d < columns_; ++d) {
    const auto i = static_cast<std::size_t>(d);
    const double centre = standardisation_.centre[i], scale = standardisation_.scale(d);
    largest = std::max({largest, std::abs(summary.maximum[i] - centre) * scale,
                        std::abs(summary.minimum[i] - centre) * scale});
  }
  return {2 * largest};  // a row about a centre, both within the data
}

void CentroidFamily::set_defaults(const Layout& layout, std::span<double> parameters) const {
  const auto centers = layout["centers"].in(parameters);
  std::fill(centers.begin(), centers.end(), 0.0);
}

void CentroidFamily::maximize(const Layout& statistics_layout, std::span<const double> statistics, double,
                              const Layout& layout, std::span<double> parameters) const {
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  const MatrixView<double> centers = layout["centers"].matrix(parameters);
  // Standardised values lie within -1 and 1, so that smaller steps are what is left of rounding the sums; taking them
  // would keep a converged centre from ever standing still.
  constexpr double smallest_step = 0x1p-50;
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_ && moments(k, 0) > 0; ++d) {
      const double step = moments(k, 1 + d) / moments(k, 0);
      if (!(std::abs(step) < smallest_step)) centers(k, d) += step;
    }
}

double CentroidFamily::objective_in_user_units(double objective, double) const {
  return objective * standardisation_.unit(0) * standardisation_.unit(0);
}

void CentroidFamily::describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const {
  const auto stored = layout["centers"].in(parameters);
  Array centers{layout["centers"].shape, {stored.begin(), stored.end()}};
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const auto d = static_cast<Index>(i) % columns_;
    centers.values[i] = stored[i] * standardisation_.unit(d) + standardisation_.centre[static_cast<std::size_t>(d)];
  }
  arrays["centers"] = std::move(centers);
}

void CentroidFamily::read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const {
  const auto found = arrays.find("centers");
  if (found == arrays.end()) return;
  if (found->second.shape != layout["centers"].shape)
    throw DataError("start parameter 'centers' has the wrong shape: (" + std::to_string(components_) + ", " +
                    std::to_string(columns_) + ") is needed");
  const auto centers = layout["centers"].in(parameters);
  for (std::size_t i = 0; i < centers.size(); ++i) {
    const double value = found->second.values[i];
    if (!std::isfinite(value)) throw DataError("start parameter 'centers' has a value that is not finite");
    const auto d = static_cast<Index>(i) % columns_;
    centers[i] = (value - standardisation_.centre[static_cast<std::size_t>(d)]) * standardisation_.scale(d);
  }
}

void CentroidFamily::start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary&,
                              std::span<double> parameters) const {
  const MatrixView<double> centers = layout["centers"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d)
      centers(k, d) = (rows(k, d) - standardisation_.centre[static_cast<std::size_t>(d)]) * standardisation_.scale(d);
}

Moments CentroidFamily::moments(const Layout& layout, std::span<const double> parameters) const {
  NamedArrays arrays;
  describe(layout, parameters, arrays);
  Moments moments{columns_, std::move(arrays["centers"].values), {}};
  moments.variance.resize(moments.mean.size());
  return moments;
}

CentroidFamily::DrawValue CentroidFamily::sampler(const Layout& layout, std::span<const double> parameters) const {
  const auto centers = std::make_shared<std::vector<double>>(moments(layout, parameters).mean);
  return [centers, D = columns_](Index k, RandomKey, Index, double* out) {
    std::copy_n(centers->begin() + k * D, D, out);
  };
}

void CentroidFamily::coefficients(const Layout& layout, std::span<const double> parameters,
                                  std::span<double> out) const {
  const MatrixView<const double> centers = layout["centers"].matrix(parameters);
  double* const copy = out.data() + cpu::panels_size(components_, columns_);
  double* const half_norms = std::copy_n(centers.data, components_ * columns_, copy);
  double largest = 0;
  for (Index k = 0; k < components_; ++k) {
    double norm = 0;
    for (Index d = 0; d < columns_; ++d) norm += centers(k, d) * centers(k, d);
    half_norms[k] = 0.5 * norm;
    largest = std::max(largest, std::sqrt(norm));
  }
  half_norms[components_] = largest;
  cpu::write_panels(centers, half_norms, out.data());
}

}  // namespace tally
