#include "algorithms/cpu_backend.hpp"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "algorithms/block_by_block.hpp"
#include "algorithms/latent/mixture_kernel.hpp"
#include "core/backends/cpu_lane.hpp"
#include "core/tile_reader.hpp"

namespace tally {
namespace {

// Runs a kernel on CPU lanes, each with a workspace of its own that stays in cache.
template <class Real>
class BoundCpuModel final : public BoundModel, public BlockByBlock {
  using Kernel = TileKernel<CpuLane, Real>;

 public:
  // `statistics` is the model's and must outlive this.
  BoundCpuModel(std::shared_ptr<const Kernel> kernel, Coefficients coefficients, const Layout& statistics,
                Index components, const BindOptions& options)
      : kernel_(std::move(kernel)),
        coefficients_(std::move(coefficients)),
        statistics_(statistics),
        components_(components),
        farthest_(farthest_from_centre<Real>(options)) {
    const auto count = static_cast<std::size_t>(coefficients_.count);
    candidates_.resize(static_cast<std::size_t>(options.candidates));
    for (Candidate& candidate : candidates_) {
      candidate.exact.resize(count);
      candidate.rounded.resize(count);
    }
    lanes_.resize(static_cast<std::size_t>(options.lanes));
    for (Lane& lane : lanes_) {
      lane.features.resize(static_cast<std::size_t>(tile_rows * feature_stride()));
      lane.posterior.resize(static_cast<std::size_t>(tile_rows * components_));
      lane.labels.resize(static_cast<std::size_t>(tile_rows));
      lane.row_values.resize(static_cast<std::size_t>(tile_rows));
      lane.row_offsets.resize(static_cast<std::size_t>(tile_rows));
      lane.statistics.assign(static_cast<std::size_t>(options.candidates),
                             std::vector<double>(static_cast<std::size_t>(statistics_.size())));
      lane.objectives.resize(static_cast<std::size_t>(options.candidates));
    }
    bytes_ = static_cast<Index>(lanes_.size()) *
             (tile_rows * ((feature_stride() + components_ + 1) * static_cast<Index>(sizeof(Real)) + 12) +
              options.candidates * statistics_.size() * (8 + 2 * 8));
    bytes_ += static_cast<Index>(lanes_.size()) * kernel_->workspace_bytes();
    if (kernel_->remembers(options.candidates))
      remembered_bytes_ = options.candidates * static_cast<Index>(sizeof(cpu::RememberedRow));
  }

  void prepare(int candidate, std::span<const double> parameters) override {
    Candidate& to = candidates_[static_cast<std::size_t>(candidate)];
    const std::vector<double> before = to.rows.empty() ? std::vector<double>() : to.exact;
    to.about_means = coefficients_.compute_within(farthest_, parameters, std::span(to.exact));
    std::transform(to.exact.begin(), to.exact.end(), to.rounded.begin(), [](double value) { return static_cast<Real>(value); });
    if (!before.empty()) kernel_->follow(before.data(), to.exact.data(), to.moved.data());
  }

  void accumulate(Shard& shard, std::span<const int> candidates, PassKind kind, Tally& tally,
                  const Shard::Pulse& pulse) override {
    begin_rows(*shard.preparation());
    begin_sums(tally);
    shard.for_each_block(
        [&](int lane, const StoredBlock& block) { add(lane, block, shard.given_columns(), candidates, kind); }, pulse);
    end_sums(tally);
  }

  void evaluate(Shard& shard, Wanted wanted, const VisitRows& visit, const Shard::Pulse& pulse) override {
    begin_rows(*shard.preparation());
    shard.for_each_block([&](int lane, const StoredBlock& block) { evaluate(lane, block, wanted, visit); }, pulse);
  }

  void begin_rows(const Preparation& preparation) override {
    for (Lane& lane : lanes_) lane.reader.emplace(preparation, tile_rows);
  }

  void remember_rows(Index first_row, Index rows) override {
    const bool same = first_row == first_row_ && rows == static_cast<Index>(candidates_.front().rows.size());
    if (remembered_bytes_ == 0 || same) return;
    first_row_ = first_row;
    for (Candidate& candidate : candidates_) {
      candidate.moved.assign(static_cast<std::size_t>(components_), 0.0);
      candidate.rows.assign(static_cast<std::size_t>(rows), {});
    }
  }

  void begin_sums(const Tally& tally) override {
    for (Lane& lane : lanes_) {
      lane.tally = tally;
      lane.tally->reset();
    }
  }

  void add(int index, const StoredBlock& block, Index given_columns, std::span<const int> candidates,
           PassKind kind) override {
    Lane& lane = lanes_[static_cast<std::size_t>(index)];
    for (const int c : candidates) lane.clear(c);
    lane.reader->for_each_tile(block, given_columns,
                               [&](const Tile<Real>& tile) { add_tile(lane, tile, candidates, kind); });
    for (const int c : candidates)
      lane.tally->add_block(c, lane.objectives[static_cast<std::size_t>(c)],
                            lane.statistics[static_cast<std::size_t>(c)]);
    lane.tally->add_rows(block.rows);
  }

  void end_sums(Tally& tally) override {
    for (Lane& lane : lanes_) tally.merge(*lane.tally);
  }

  void evaluate(int index, const StoredBlock& block, Wanted wanted, const VisitRows& visit) override {
    Lane& lane = lanes_[static_cast<std::size_t>(index)];
    const auto rows = static_cast<std::size_t>(block.rows);
    lane.row_objectives.resize(rows);
    if (wanted.labels) lane.row_labels.resize(rows);
    if (wanted.responsibilities) lane.row_weights.resize(rows * static_cast<std::size_t>(components_));
    StoredBlock unweighted = block;
    unweighted.weights = nullptr;
    lane.reader->for_each_tile(unweighted, 0, [&](const Tile<Real>& tile) {
      const Index first = tile.first_row - block.first_row;
      CandidateWork<Real> work = work_of(lane, tile, 0);
      double objective = 0;
      kernel_->expect(lane.compute, tile, MatrixView<const Real>(features_of(lane, tile)), work,
                      lane.row_objectives.data() + first, &objective);
      if (wanted.labels) kernel_->labels(tile, work, lane.row_labels.data() + first);
      if (wanted.responsibilities)
        kernel_->responsibilities(tile, work, lane.row_weights.data() + first * components_);
    });
    visit(block.first_row, block.rows,
          {wanted.labels ? lane.row_labels.data() : nullptr, lane.row_objectives.data(),
           wanted.responsibilities ? lane.row_weights.data() : nullptr});
  }

  Index memory_bytes() const noexcept override { return bytes_; }
  Index remembered_bytes() const noexcept override { return remembered_bytes_; }

 private:
  struct Candidate {
    std::vector<double> exact;  // coefficients
    std::vector<Real> rounded;
    std::vector<cpu::RememberedRow> rows;  // where rows are remembered
    std::vector<double> moved;             // (components)
    std::vector<Index> about_means;        // components whose coefficients are
  };
  struct Lane {
    CpuLane compute;
    std::optional<TileReader<Real>> reader;
    std::optional<Tally> tally;
    std::vector<Real> features, posterior, row_values;
    std::vector<std::int32_t> labels;
    std::vector<std::vector<double>> statistics;  // of the block at hand, a candidate each
    std::vector<double> objectives;
    std::vector<double> row_offsets, row_objectives, row_weights;
    std::vector<std::int32_t> row_labels;

    void clear(int candidate) {
      auto& sums = statistics[static_cast<std::size_t>(candidate)];
      std::fill(sums.begin(), sums.end(), 0.0);
      objectives[static_cast<std::size_t>(candidate)] = 0;
    }
  };

  // Rows of the feature matrix begin on cache lines' multiples.
  Index feature_stride() const { return (kernel_->feature_width() + 7) / 8 * 8; }

  MatrixView<Real> features_of(Lane& lane, const Tile<Real>& tile) {
    const MatrixView<Real> features(lane.features.data(), tile.rows(), kernel_->feature_width(), feature_stride());
    kernel_->features(lane.compute, tile, features);
    return features;
  }

  CandidateWork<Real> work_of(Lane& lane, const Tile<Real>& tile, int candidate) {
    Candidate& of = candidates_[static_cast<std::size_t>(candidate)];
    return {of.rounded.data(), of.exact.data(),
            MatrixView<Real>(lane.posterior.data(), tile.rows(), components_), lane.labels.data(),
            lane.row_values.data(), lane.row_offsets.data(), of.about_means};
  }

  cpu::RememberedRows remembered_of(const Tile<Real>& tile, int candidate) {
    Candidate& of = candidates_[static_cast<std::size_t>(candidate)];
    if (of.rows.empty()) return {};
    return {of.rows.data() + (tile.first_row - first_row_), of.moved.data()};
  }

  void add_tile(Lane& lane, const Tile<Real>& tile, std::span<const int> candidates, PassKind kind) {
    if (kind == PassKind::expectation && tile.given.cols == 1) check_known(tile.given, tile.first_row, components_);
    const MatrixView<Real> features = features_of(lane, tile);
    for (const int c : candidates) {
      CandidateWork<Real> work = work_of(lane, tile, c);
      double* sums = lane.statistics[static_cast<std::size_t>(c)].data();
      if (kind == PassKind::given) {
        kernel_->take_given(lane.compute, tile, work);
        kernel_->add_given_statistics(lane.compute, tile, MatrixView<const Real>(features), work, sums);
      } else {
        work.remembered = remembered_of(tile, c);
        kernel_->expect(lane.compute, tile, MatrixView<const Real>(features), work, nullptr,
                        &lane.objectives[static_cast<std::size_t>(c)]);
        kernel_->add_statistics(lane.compute, tile, MatrixView<const Real>(features), work, sums);
      }
    }
  }

  const std::shared_ptr<const Kernel> kernel_;
  const Coefficients coefficients_;
  const Layout& statistics_;
  Index components_;
  double farthest_;
  Index bytes_ = 0;
  std::vector<Candidate> candidates_;
  Index remembered_bytes_ = 0;  // of a row
  Index first_row_ = 0;         // of those that are remembered
  std::vector<Lane> lanes_;
};

}  // namespace

std::unique_ptr<BoundModel> CpuBackend::bind_tiles(const TileKernels<CpuLane>& kernels, const Coefficients& coefficients,
                                                   const Layout& statistics, Index components,
                                                   const BindOptions& options) {
  if (in_float(options.precision))
    return std::make_unique<BoundCpuModel<float>>(kernels.in_float, coefficients, statistics, components, options);
  return std::make_unique<BoundCpuModel<double>>(kernels.in_double, coefficients, statistics, components, options);
}

std::unique_ptr<BoundModel> CpuBackend::bind_mixture(const FamilyKernels<CpuLane>& kernels,
                                                     const Coefficients& coefficients, const Layout& statistics,
                                                     Index components, const BindOptions& options) {
  return bind_tiles(mixture_kernels(kernels), coefficients, statistics, components, options);
}

}  // namespace tally
