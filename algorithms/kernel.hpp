#pragma once
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "algorithms/model.hpp"
#include "core/backends/nearest.hpp"
#include "core/block.hpp"
#include "core/error.hpp"
#include "core/view.hpp"

namespace tally {

// How the host turns parameters into what kernels read, in double; each backend rounds and uploads it.
struct Coefficients {
  Index count = 0;
  std::function<void(std::span<const double> parameters, std::span<double> out)> compute;
  // Where a family has a form about a component's mean, in place of compute: takes it for the components that are farther from
  // the data's centre than this, as the square of the distance in their own widths. Returns which these are, ascending.
  std::function<std::vector<Index>(std::span<const double> parameters, std::span<double> out, double farthest)> compute_either = {};

  // Which components' are about their means.
  std::vector<Index> compute_within(double farthest, std::span<const double> parameters, std::span<double> out) const {
    if (compute_either) return compute_either(parameters, out, farthest);
    compute(parameters, out);
    return {};
  }
};

// Where logits, in which so large squares cancel, would be off by more than 1e-10 in double, 1e-3 in float.
template <class Real>
double farthest_from_centre(const BindOptions& options) {
  if (options.adds_passes) return std::numeric_limits<double>::infinity();
  return (sizeof(Real) == sizeof(double) ? 1e-10 : 1e-3) / static_cast<double>(std::numeric_limits<Real>::epsilon());
}

// Binds a model's kernel to the backend that its source was compiled for. `statistics` is the model's and must outlive
// what this returns.
using BindKernel = std::function<std::unique_ptr<BoundModel>(const Coefficients& coefficients, const Layout& statistics,
                                                             Index components, const BindOptions& options)>;

// A kernel as engines see it, in both precisions.
template <template <class, class> class Interface, class Lane>
struct InBothPrecisions {
  std::shared_ptr<const Interface<Lane, double>> in_double;
  std::shared_ptr<const Interface<Lane, float>> in_float;
};

// What a kernel sees of a candidate: its coefficients and its share of the lane's workspace.
template <class Real>
struct CandidateWork {
  const Real* coefficients = nullptr;  // coefficient_count()
  const double* exact = nullptr;       // the same, in double
  MatrixView<Real> posterior;          // (rows, K): logits, then posterior weights
  std::int32_t* labels = nullptr;      // (rows)
  Real* row_values = nullptr;          // (rows), scratch
  double* row_offsets = nullptr;       // (rows), scratch
  std::span<const Index> about_means = {};  // components whose coefficients are (see Coefficients)
  cpu::RememberedRows remembered = {};  // on the CPU, of rows that come again in every pass
};

// Functors are named so that every backend can run them.
template <class Real>
struct WeightRow {
  const double* weights;  // or null
  Real* out;
  TALLY_HD void operator()(Index i) const { out[i] = weights ? static_cast<Real>(weights[i]) : Real{1}; }
};

template <class Real>
struct OffsetRow {
  const double* offsets;  // or null
  const Real* values;     // or null
  double* out;
  TALLY_HD void operator()(Index i) const {
    out[i] = (offsets ? offsets[i] : 0) + (values ? static_cast<double>(values[i]) : 0);
  }
};

// A row whose component (of a chain: state) is known: no other explains it. A label below 0 says nothing.
template <class Real>
struct KeepKnown {
  MatrixView<const double> known;  // (rows, 1)
  Index columns_each;              // of a component
  MatrixView<Real> logits;
  TALLY_HD void operator()(Index i) const {
    const double label = known(i, 0);
    if (!(label >= 0)) return;
    for (Index k = 0; k < logits.cols; ++k)
      if (static_cast<double>(k / columns_each) != label) logits(i, k) = -std::numeric_limits<Real>::infinity();
  }
};

// Throws DataError where a known component is none of those there are, nor -1.
inline void check_known(MatrixView<const double> known, Index first_row, Index components) {
  for (Index i = 0; i < known.rows; ++i) {
    const double label = known(i, 0);
    if (label == -1 || (label >= 0 && label < static_cast<double>(components) && label == std::floor(label))) continue;
    throw DataError("the label of row " + std::to_string(first_row + i) + " is " + std::to_string(label) +
                    "; labels are whole numbers from 0 to " + std::to_string(components - 1) + ", or -1 where unknown");
  }
}

// Makes posterior weights of what was given for a tile: labels (rows, 1), -1 not allowed, or responsibilities (rows, K).
// Throws DataError that names the row. Runs where the tile was read, on the host.
template <class Real>
void posterior_from_given(const Tile<Real>& tile, MatrixView<Real> posterior) {
  const Index K = posterior.cols;
  for (Index i = 0; i < tile.rows(); ++i) {
    const double weight = tile.weights ? tile.weights[i] : 1;
    Real* row = posterior.row(i);
    if (tile.given.cols == 1 && K != 1) {
      const double label = tile.given(i, 0);
      if (!(label >= 0 && label < static_cast<double>(K)) || label != static_cast<double>(static_cast<Index>(label)))
        throw DataError("the label of row " + std::to_string(tile.first_row + i) + " is " + std::to_string(label) +
                        "; labels are whole numbers from 0 to " + std::to_string(K - 1));
      for (Index k = 0; k < K; ++k) row[k] = 0;
      row[static_cast<Index>(label)] = static_cast<Real>(weight);
      continue;
    }
    double sum = 0;
    for (Index k = 0; k < K; ++k) {
      const double value = K == 1 && tile.given.cols == 1 && tile.given(i, 0) == 0 ? 1 : tile.given(i, k);
      if (!(value >= 0 && value <= 1 + 1e-6))
        throw DataError("responsibility " + std::to_string(k) + " of row " + std::to_string(tile.first_row + i) +
                        " is not within 0 to 1");
      sum += value;
      row[k] = static_cast<Real>(weight * value);
    }
    if (!(sum > 1 - 1e-6 && sum < 1 + 1e-6))
      throw DataError("the responsibilities of row " + std::to_string(tile.first_row + i) + " do not sum to 1");
  }
}

}  // namespace tally
