#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "algorithms/bound_model.hpp"
#include "core/tile_reader.hpp"

namespace tally {

// Runs a kernel (see bound_model.hpp) on lanes whose memory is not the host's: CudaLane, or GenericLane in
// tests. A block is one tile: standardised on the host, uploaded, taken through features, posterior and
// statistics on the device; its sums are downloaded and added to the tally on the host.
template <class Kernel, class Real, class DeviceLane>
class BoundDeviceModel final : public BoundModel {
 public:
  // `statistics` is the model's and must outlive this.
  BoundDeviceModel(const Kernel& kernel, Coefficients coefficients, const Layout& statistics,
                   Index components, const BindOptions& options)
      : kernel_(kernel),
        coefficients_(std::move(coefficients)),
        statistics_(statistics),
        components_(components),
        candidates_(static_cast<std::size_t>(options.candidates)),
        lanes_(static_cast<std::size_t>(options.lanes)) {
    for (Candidate& candidate : candidates_) {
      candidate.exact.reserve(coefficients_.count);
      candidate.rounded.reserve(coefficients_.count);
    }
    for (Lane& lane : lanes_) {
      lane.statistics.reserve(options.candidates * statistics_.size());
      lane.objectives.reserve(options.candidates);
      lane.block_statistics.resize(static_cast<std::size_t>(statistics_.size()));
    }
  }

  void prepare(int candidate, std::span<const double> parameters) override {
    Candidate& to = candidates_[static_cast<std::size_t>(candidate)];
    std::vector<double> exact(static_cast<std::size_t>(coefficients_.count));
    coefficients_.compute(parameters, std::span(exact));
    const std::vector<Real> rounded(exact.begin(), exact.end());
    DeviceLane& lane = lanes_.front().compute;
    lane.select_device();
    lane.upload(exact.data(), to.exact.data(), coefficients_.count);
    lane.upload(rounded.data(), to.rounded.data(), coefficients_.count);
  }

  void accumulate(Shard& shard, std::span<const int> candidates, PassKind kind, Tally& tally,
                  const Shard::Pulse& pulse) override {
    for (Lane& lane : lanes_) {
      begin(lane, shard);
      lane.tally = tally;
      lane.tally->reset();
    }
    shard.for_each_block(
        [&](int index, const StoredBlock& block) {
          Lane& lane = lanes_[static_cast<std::size_t>(index)];
          lane.compute.select_device();
          lane.compute.clear(lane.statistics.data(),
                             static_cast<Index>(candidates_.size()) * statistics_.size());
          lane.compute.clear(lane.objectives.data(), static_cast<Index>(candidates_.size()));
          lane.reader->for_each_tile(block, shard.given_columns(),
                                     [&](const Tile<Real>& tile) { add_tile(lane, tile, candidates, kind); });
          for (const int c : candidates) add_to_tally(lane, c);
          lane.tally->add_rows(block.rows);
        },
        pulse);
    for (Lane& lane : lanes_) tally.merge(*lane.tally);
  }

  void evaluate(Shard& shard, Wanted wanted, const VisitRows& visit, const Shard::Pulse& pulse) override {
    for (Lane& lane : lanes_) begin(lane, shard);
    shard.for_each_block(
        [&](int index, const StoredBlock& block) {
          Lane& lane = lanes_[static_cast<std::size_t>(index)];
          lane.compute.select_device();
          StoredBlock unweighted = block;
          unweighted.weights = nullptr;
          lane.reader->for_each_tile(
              unweighted, 0, [&](const Tile<Real>& tile) { evaluate_tile(lane, tile, wanted, visit); });
        },
        pulse);
  }

  // Device memory. Before the first pass without the rows of a block, whose size is the shard's.
  Index memory_bytes() const noexcept override {
    Index bytes = 0;
    for (const Candidate& candidate : candidates_)
      bytes += candidate.exact.bytes() + candidate.rounded.bytes();
    for (const Lane& lane : lanes_)
      bytes += lane.compute.scratch_bytes() + lane.x.bytes() + lane.features.bytes() +
               lane.posterior.bytes() + lane.row_values.bytes() + lane.weights.bytes() +
               lane.offsets.bytes() + lane.row_offsets.bytes() + lane.row_objectives.bytes() +
               lane.labels.bytes() + lane.statistics.bytes() + lane.objectives.bytes();
    return bytes;
  }

 private:
  template <class T>
  using Memory = typename DeviceLane::template Memory<T>;

  struct Candidate {
    Memory<double> exact;
    Memory<Real> rounded;
  };
  struct Lane {
    DeviceLane compute;
    std::optional<TileReader<Real>> reader;
    std::optional<Tally> tally;
    // Of the device, rows of a block each.
    Memory<Real> x, features, posterior, row_values;
    Memory<double> weights, offsets, row_offsets, row_objectives;
    Memory<std::int32_t> labels;
    // Of the device, of the block at hand, a candidate each.
    Memory<double> statistics, objectives;
    // Of the host.
    std::vector<double> block_statistics, host_objectives, host_responsibilities;
    std::vector<Real> host_posterior;
    std::vector<std::int32_t> host_labels, row_labels;
  };

  // Rows of the feature matrix begin on cache lines' multiples.
  Index feature_stride() const { return (kernel_.feature_width() + 7) / 8 * 8; }

  // Allocates at the first pass and keeps what it has.
  void begin(Lane& lane, const Shard& shard) {
    const Index rows = shard.block_rows();
    lane.compute.select_device();
    lane.reader.emplace(*shard.preparation(), rows);
    lane.x.reserve(rows * shard.columns());
    lane.features.reserve(rows * feature_stride());
    lane.posterior.reserve(rows * components_);
    for (Memory<double>* values : {&lane.weights, &lane.offsets, &lane.row_offsets, &lane.row_objectives})
      values->reserve(rows);
    lane.row_values.reserve(rows);
    lane.labels.reserve(rows);
    lane.host_posterior.resize(static_cast<std::size_t>(rows * components_));
    lane.host_labels.resize(static_cast<std::size_t>(rows));
  }

  // The tile with its rows on the device. What was given stays behind: it is read on the host.
  Tile<Real> upload_tile(Lane& lane, const Tile<Real>& tile) {
    Tile<Real> uploaded;
    uploaded.first_row = tile.first_row;
    lane.compute.upload(tile.x.data, lane.x.data(), tile.rows() * tile.x.cols);
    uploaded.x = MatrixView<const Real>(lane.x.data(), tile.rows(), tile.x.cols);
    if (tile.weights) {
      lane.compute.upload(tile.weights, lane.weights.data(), tile.rows());
      uploaded.weights = lane.weights.data();
    }
    if (tile.offsets) {
      lane.compute.upload(tile.offsets, lane.offsets.data(), tile.rows());
      uploaded.offsets = lane.offsets.data();
    }
    return uploaded;
  }

  MatrixView<const Real> features_of(Lane& lane, const Tile<Real>& tile) {
    const MatrixView<Real> features(lane.features.data(), tile.rows(), kernel_.feature_width(),
                                    feature_stride());
    kernel_.features(lane.compute, tile, features);
    return features;
  }

  CandidateWork<Real> work_of(Lane& lane, Index rows, int candidate) {
    Candidate& of = candidates_[static_cast<std::size_t>(candidate)];
    return {of.rounded.data(),
            of.exact.data(),
            MatrixView<Real>(lane.posterior.data(), rows, components_),
            lane.labels.data(),
            lane.row_values.data(),
            lane.row_offsets.data()};
  }

  // What a kernel's host functions see.
  CandidateWork<Real> host_work(Lane& lane, Index rows) {
    CandidateWork<Real> work;
    work.posterior = MatrixView<Real>(lane.host_posterior.data(), rows, components_);
    work.labels = lane.host_labels.data();
    return work;
  }

  void add_tile(Lane& lane, const Tile<Real>& host_tile, std::span<const int> candidates, PassKind kind) {
    const Tile<Real> tile = upload_tile(lane, host_tile);
    const MatrixView<const Real> features = features_of(lane, tile);
    for (const int c : candidates) {
      CandidateWork<Real> work = work_of(lane, tile.rows(), c);
      double* sums = lane.statistics.data() + c * statistics_.size();
      if (kind == PassKind::given) {
        CandidateWork<Real> given = host_work(lane, tile.rows());
        kernel_.take_given(lane.compute, host_tile, given);
        lane.compute.upload(given.posterior.data, work.posterior.data, tile.rows() * components_);
        kernel_.add_given_statistics(lane.compute, tile, features, work, sums);
      } else {
        kernel_.expect(lane.compute, tile, features, work, nullptr, lane.objectives.data() + c);
        kernel_.add_statistics(lane.compute, tile, features, work, sums);
      }
    }
  }

  void add_to_tally(Lane& lane, int candidate) {
    double objective = 0;
    lane.compute.download(lane.objectives.data() + candidate, &objective, 1);
    lane.compute.download(lane.statistics.data() + candidate * statistics_.size(),
                          lane.block_statistics.data(), statistics_.size());
    lane.tally->add_block(candidate, objective, lane.block_statistics);
  }

  void evaluate_tile(Lane& lane, const Tile<Real>& host_tile, Wanted wanted, const VisitRows& visit) {
    const Index rows = host_tile.rows();
    const auto row_count = static_cast<std::size_t>(rows);
    const Tile<Real> tile = upload_tile(lane, host_tile);
    const MatrixView<const Real> features = features_of(lane, tile);
    CandidateWork<Real> work = work_of(lane, rows, 0);
    kernel_.expect(lane.compute, tile, features, work, lane.row_objectives.data(), lane.objectives.data());

    lane.host_objectives.resize(row_count);
    lane.compute.download(lane.row_objectives.data(), lane.host_objectives.data(), rows);
    CandidateWork<Real> seen = host_work(lane, rows);
    if (wanted.labels || wanted.responsibilities) {
      lane.compute.download(work.posterior.data, seen.posterior.data, rows * components_);
      lane.compute.download(work.labels, seen.labels, rows);
    }
    if (wanted.labels) {
      lane.row_labels.resize(row_count);
      kernel_.labels(host_tile, seen, lane.row_labels.data());
    }
    if (wanted.responsibilities) {
      lane.host_responsibilities.resize(row_count * static_cast<std::size_t>(components_));
      kernel_.responsibilities(host_tile, seen, lane.host_responsibilities.data());
    }
    visit(host_tile.first_row, rows,
          {wanted.labels ? lane.row_labels.data() : nullptr, lane.host_objectives.data(),
           wanted.responsibilities ? lane.host_responsibilities.data() : nullptr});
  }

  const Kernel kernel_;
  const Coefficients coefficients_;
  const Layout& statistics_;
  Index components_;
  std::vector<Candidate> candidates_;
  std::vector<Lane> lanes_;
};

}  // namespace tally
