#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "algorithms/family_kernel.hpp"
#include "algorithms/tile_kernel.hpp"

namespace tally {

// The block half of a mixture: posterior weights by softmax.
template <class Lane, class Real>
class MixtureKernel final : public TileKernel<Lane, Real> {
  using Features = MatrixView<const Real>;
  using Work = CandidateWork<Real>;

 public:
  explicit MixtureKernel(std::shared_ptr<const FamilyKernel<Lane, Real>> family) : family_(std::move(family)) {}

  Index feature_width() const override { return family_->feature_width(); }
  void features(Lane& lane, const Tile<Real>& tile, MatrixView<Real> out) const override {
    family_->features(lane, tile.x, out);
  }

  void expect(Lane& lane, const Tile<Real>& tile, Features features, Work& work, double* row_objectives,
              double* objective) const override {
    const FamilyCoefficients<Real> of{work.coefficients, work.exact, work.about_means};
    family_->log_densities(lane, features, of, work.posterior);
    if (tile.given.cols == 1) lane.for_each(tile.rows(), KeepKnown<Real>{tile.given, 1, work.posterior});
    const double* offsets = tile.offsets;
    if (family_->row_log_densities(lane, features, of, work.row_values)) {
      lane.for_each(tile.rows(), OffsetRow<Real>{tile.offsets, work.row_values, work.row_offsets});
      offsets = work.row_offsets;
    }
    lane.softmax_rows(work.posterior, {tile.weights, offsets, row_objectives}, objective);
  }

  void add_statistics(Lane& lane, const Tile<Real>& tile, Features features, const Work& work,
                      double* statistics) const override {
    add(lane, tile, features, work, {work.coefficients, work.exact, work.about_means}, statistics);
  }

  void take_given(Lane&, const Tile<Real>& tile, Work& work) const override { posterior_from_given(tile, work.posterior); }
  void add_given_statistics(Lane& lane, const Tile<Real>& tile, Features features, const Work& work,
                            double* statistics) const override {
    add(lane, tile, features, work, {}, statistics);
  }

  void labels(const Tile<Real>& tile, const Work& work, std::int32_t* out) const override {
    for (Index i = 0; i < tile.rows(); ++i) {
      const Real* row = work.posterior.row(i);
      out[i] = static_cast<std::int32_t>(std::max_element(row, row + work.posterior.cols) - row);
    }
  }
  void responsibilities(const Tile<Real>& tile, const Work& work, double* out) const override {
    for (Index i = 0; i < tile.rows(); ++i)
      std::copy_n(work.posterior.row(i), work.posterior.cols, out + i * work.posterior.cols);
  }
  Index workspace_bytes() const override { return family_->workspace_bytes(); }

 private:
  void add(Lane& lane, const Tile<Real>& tile, Features features, const Work& work, const FamilyCoefficients<Real>& of,
           double* statistics) const {
    family_->add_weighted(lane, features, of, work.posterior, statistics);
    if (!family_->has_unlabelled(of)) return;
    if (tile.weights) lane.for_each(tile.rows(), WeightRow<Real>{tile.weights, work.row_values});
    family_->add_unlabelled(lane, features, tile.weights ? work.row_values : nullptr, statistics);
  }

  const std::shared_ptr<const FamilyKernel<Lane, Real>> family_;
};

template <class Lane>
TileKernels<Lane> mixture_kernels(const FamilyKernels<Lane>& of_family) {
  return {std::make_shared<MixtureKernel<Lane, double>>(of_family.in_double),
          std::make_shared<MixtureKernel<Lane, float>>(of_family.in_float)};
}

}  // namespace tally
