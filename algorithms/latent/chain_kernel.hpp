#pragma once
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "algorithms/family_kernel.hpp"
#include "algorithms/latent/chain_shape.hpp"
#include "core/block.hpp"

namespace tally {

// A step without an observation: every state explains it equally well.
template <class Real>
struct ForgetMissing {
  const unsigned char* missing;  // (rows)
  Index columns_per_state;
  MatrixView<Real> logits;
  double* offsets;
  TALLY_HD void operator()(Index i) const {
    if (!missing[i]) return;
    for (Index k = 0; k < logits.cols; ++k)
      logits(i, k) = k % columns_per_state == 0 ? Real{0} : -std::numeric_limits<Real>::infinity();
    offsets[i] = 0;
  }
};

// A state emits a mixture: its emission is the sum of its columns.
template <class Real>
struct SumColumns {
  MatrixView<const Real> columns;  // (rows, states * columns per state)
  MatrixView<Real> states;         // (rows, states)
  TALLY_HD void operator()(Index i) const {
    const Index M = columns.cols / states.cols;
    for (Index k = 0; k < states.cols; ++k) {
      Real sum = 0;
      for (Index m = 0; m < M; ++m) sum += columns(i, k * M + m);
      states(i, k) = sum;
    }
  }
};

// The same of logarithms.
template <class Real, class Sum = Real>
struct LogSumColumns {
  MatrixView<const Real> columns;  // (rows, states * columns per state)
  MatrixView<Sum> states;          // (rows, states)
  TALLY_HD void operator()(Index i) const {
    const Index M = columns.cols / states.cols;
    for (Index k = 0; k < states.cols; ++k) {
      const Real* const of = columns.row(i) + k * M;
      Real largest = of[0];
      for (Index m = 1; m < M; ++m) largest = of[m] > largest ? of[m] : largest;
      double sum = 0;
      for (Index m = 0; m < M; ++m) sum += of[m] == largest ? 1.0 : std::exp(static_cast<double>(of[m] - largest));
      states(i, k) = static_cast<Sum>(static_cast<double>(largest) + std::log(sum));
    }
  }
};

// Shares each state's posterior among its columns by what they emitted.
template <class Real>
struct ShareAmongColumns {
  MatrixView<const Real> gamma;  // (rows, states)
  MatrixView<Real> columns;      // (rows, states * columns per state), becomes posterior weights
  TALLY_HD void operator()(Index i) const {
    const Index M = columns.cols / gamma.cols;
    for (Index k = 0; k < gamma.cols; ++k) {
      Real sum = 0;
      for (Index m = 0; m < M; ++m) sum += columns(i, k * M + m);
      const Real share = sum > 0 ? gamma(i, k) / sum : Real{0};
      for (Index m = 0; m < M; ++m) columns(i, k * M + m) *= share;
    }
  }
};

// Multiplies rows by their weights; rows of missing observations become zeros.
template <class Real>
struct WeighRows {
  const double* weights;         // (rows) or null
  const unsigned char* missing;  // (rows) or null
  MatrixView<Real> rows;
  TALLY_HD void operator()(Index i) const {
    const Real weight = missing && missing[i] ? Real{0} : weights ? static_cast<Real>(weights[i]) : Real{1};
    for (Index k = 0; k < rows.cols; ++k) rows(i, k) *= weight;
  }
};

// The rows of a sequence are steps of a hidden Markov chain whose states emit them: posterior weights by
// forward-backward. This is the part that looks at rows one by one; the recursions run over pieces of sequences (see
// bound_chain_model.cpp). The family has states * mixtures components.
template <class Lane, class Real>
class ChainKernel {
  using Features = MatrixView<const Real>;

 public:
  ChainKernel(const ChainShape& shape, std::shared_ptr<const FamilyKernel<Lane, Real>> family)
      : shape_(shape), family_(std::move(family)) {}

  const ChainShape& shape() const { return shape_; }
  Index feature_width() const { return family_->feature_width(); }
  void features(Lane& lane, const Tile<Real>& tile, MatrixView<Real> out) const { family_->features(lane, tile.x, out); }

  // Log-densities of a tile (rows, components()), and what belongs to a row whatever its state.
  void emit(Lane& lane, const Tile<Real>& tile, Features features, const FamilyCoefficients<Real>& of, MatrixView<Real> logits,
            Real* row_values, double* offsets) const {
    family_->log_densities(lane, features, of, logits);
    const bool shared = family_->row_log_densities(lane, features, of, row_values);
    lane.for_each(tile.rows(), OffsetRow<Real>{tile.offsets, shared ? row_values : nullptr, offsets});
    if (tile.missing) lane.for_each(tile.rows(), ForgetMissing<Real>{tile.missing, shape_.mixtures, logits, offsets});
  }

  // Adds a tile's emissions, weighted by posterior weights (rows, components()), to the family's statistics; without
  // coefficients where these were given.
  void add_emissions(Lane& lane, const Tile<Real>& tile, Features features, const FamilyCoefficients<Real>& of,
                     MatrixView<const Real> posterior, Real* row_values, double* statistics) const {
    family_->add_weighted(lane, features, of, posterior, statistics);
    if (!family_->has_unlabelled(of)) return;
    const bool weighted = tile.weights || tile.missing;
    if (weighted) lane.for_each(tile.rows(), WeightRow<Real>{tile.weights, row_values});
    if (tile.missing) lane.for_each(tile.rows(), WeighRows<Real>{nullptr, tile.missing, {row_values, tile.rows(), 1}});
    family_->add_unlabelled(lane, features, weighted ? row_values : nullptr, statistics);
  }

  Index workspace_bytes() const { return family_->workspace_bytes(); }

 private:
  ChainShape shape_;
  std::shared_ptr<const FamilyKernel<Lane, Real>> family_;
};

}  // namespace tally
