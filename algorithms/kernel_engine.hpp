#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "algorithms/bound_device_model.hpp"
#include "algorithms/lane_engine.hpp"
#include "algorithms/tile_kernel.hpp"

namespace tally {

// Runs a kernel on lanes, tile by tile through features, posterior and statistics.
template <class Real, class DeviceLane>
class KernelEngine final : public LaneEngine<Real, DeviceLane> {
  using Base = LaneEngine<Real, DeviceLane>;
  using Kernel = TileKernel<DeviceLane, Real>;
  using typename Base::Rows;
  template <class T>
  using Memory = typename Base::template Memory<T>;

 public:
  // `statistics` is the model's and must outlive this.
  KernelEngine(std::shared_ptr<const Kernel> kernel, Coefficients coefficients, const Layout& statistics, Index components,
               const BindOptions& options)
      : Base(std::move(coefficients), statistics, options),
        kernel_(std::move(kernel)),
        components_(components),
        tile_rows_(device_tile_rows<Real>(kernel_->feature_width() + components)),
        workspaces_(static_cast<std::size_t>(options.lanes)) {}

  Index memory_bytes() const noexcept override {
    Index bytes = Base::memory_bytes();
    for (const Workspace& work : workspaces_)
      bytes += work.features.bytes() + work.posterior.bytes() + work.row_values.bytes() + work.row_offsets.bytes() +
               work.row_objectives.bytes() + work.labels.bytes() + work.objective.bytes();
    return bytes;
  }

 private:
  // Of a lane.
  struct Workspace {
    // Of the device, rows of a tile each.
    Memory<Real> features, posterior, row_values;
    Memory<double> row_offsets, row_objectives;
    Memory<std::int32_t> labels;
    Memory<double> objective;  // of rows that are evaluated
    // Of the host.
    std::vector<Real> host_posterior;
    std::vector<std::int32_t> host_labels;
  };

  // Rows of the feature matrix begin on cache lines' multiples.
  Index feature_stride() const { return (kernel_->feature_width() + 7) / 8 * 8; }
  Workspace& workspace_of(int index) { return workspaces_[static_cast<std::size_t>(index)]; }

  // Calls visit(tile, first row within the block) for each tile, in order.
  template <class Visit>
  void for_each_tile(int index, Rows& rows, const Visit& visit) {
    Workspace& work = workspace_of(index);
    const Index most = std::min(tile_rows_, rows.count);
    work.features.reserve(most * feature_stride());
    work.posterior.reserve(most * components_);
    work.row_values.reserve(most);
    work.row_offsets.reserve(most);
    work.row_objectives.reserve(most);
    work.labels.reserve(most);
    for (Index first = 0; first < rows.count; first += tile_rows_) visit(Base::tile_of(rows, first, tile_rows_), first);
  }

  MatrixView<const Real> features_of(int index, const Tile<Real>& tile) {
    const MatrixView<Real> features(workspace_of(index).features.data(), tile.rows(), kernel_->feature_width(),
                                    feature_stride());
    kernel_->features(this->compute_of(index), tile, features);
    return features;
  }

  CandidateWork<Real> work_of(int index, Index rows, int candidate) {
    Workspace& work = workspace_of(index);
    auto& of = this->candidate(candidate);
    return {of.rounded.data(),      of.exact.data(),
            MatrixView<Real>(work.posterior.data(), rows, components_),
            work.labels.data(),     work.row_values.data(),
            work.row_offsets.data(), of.about_means};
  }

  // What a kernel's host functions see.
  CandidateWork<Real> host_work(int index, Index rows) {
    Workspace& work = workspace_of(index);
    work.host_posterior.resize(static_cast<std::size_t>(rows * components_));
    work.host_labels.resize(static_cast<std::size_t>(rows));
    CandidateWork<Real> seen;
    seen.posterior = MatrixView<Real>(work.host_posterior.data(), rows, components_);
    seen.labels = work.host_labels.data();
    return seen;
  }

  void add_rows(int index, Rows& rows) override {
    DeviceLane& lane = this->compute_of(index);
    for_each_tile(index, rows, [&](const Tile<Real>& tile, Index) {
      const MatrixView<const Real> features = features_of(index, tile);
      for (std::size_t c = 0; c < this->running().size(); ++c) {
        CandidateWork<Real> work = work_of(index, tile.rows(), this->running()[c]);
        kernel_->expect(lane, tile, features, work, nullptr, this->objective_of(index, c));
        kernel_->add_statistics(lane, tile, features, work, this->statistics_of(index, c));
      }
    });
  }

  void add_given_rows(int index, const HostBlock& block, Rows& rows) override {
    DeviceLane& lane = this->compute_of(index);
    for_each_tile(index, rows, [&](const Tile<Real>& tile, Index first) {
      const MatrixView<const Real> features = features_of(index, tile);
      for (std::size_t c = 0; c < this->running().size(); ++c) {
        CandidateWork<Real> given = host_work(index, tile.rows()), work = work_of(index, tile.rows(), this->running()[c]);
        kernel_->take_given(lane, Base::given_tile(block, first, tile.rows()), given);
        lane.upload(given.posterior.data, work.posterior.data, tile.rows() * components_);
        kernel_->add_given_statistics(lane, tile, features, work, this->statistics_of(index, c));
      }
    });
  }

  void evaluate_rows(int index, Rows& rows, const RowOutputs& outputs) override {
    workspace_of(index).objective.reserve(1);
    for_each_tile(index, rows, [&](const Tile<Real>& tile, Index first) { evaluate_tile(index, tile, first, outputs); });
  }

  void evaluate_tile(int index, const Tile<Real>& tile, Index first, const RowOutputs& outputs) {
    DeviceLane& lane = this->compute_of(index);
    Workspace& workspace = workspace_of(index);
    const Index rows = tile.rows();
    CandidateWork<Real> work = work_of(index, rows, 0);
    kernel_->expect(lane, tile, features_of(index, tile), work, workspace.row_objectives.data(),
                    workspace.objective.data());
    if (outputs.objectives) lane.download(workspace.row_objectives.data(), outputs.objectives + first, rows);
    if (!outputs.labels && !outputs.responsibilities) return;
    CandidateWork<Real> seen = host_work(index, rows);
    lane.download(work.posterior.data, seen.posterior.data, rows * components_);
    lane.download(work.labels, seen.labels, rows);
    if (outputs.labels) kernel_->labels(tile, seen, outputs.labels + first);
    if (outputs.responsibilities) kernel_->responsibilities(tile, seen, outputs.responsibilities + first * components_);
  }

  const std::shared_ptr<const Kernel> kernel_;
  Index components_, tile_rows_;
  std::vector<Workspace> workspaces_;
};

}  // namespace tally
