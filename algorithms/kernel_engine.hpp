#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "algorithms/bound_device_model.hpp"
#include "algorithms/bound_model.hpp"
#include "core/backends/device_sums.hpp"
#include "core/device_engine.hpp"

namespace tally {

// Rows of a block that a device takes through features, products and posterior at a time: `width` values a row that are
// written and read again take about 24 MiB, which stays in the cache of a data-centre GPU. Depends on precision and model
// alone.
template <class Real>
constexpr Index device_tile_rows(Index width) {
  constexpr Index cache_values = (Index{24} << 20) / static_cast<Index>(sizeof(Real));
  return std::clamp<Index>(cache_values / std::max<Index>(width, 1) / 256 * 256, 256, Index{1} << 17);
}

// Runs a kernel (see bound_model.hpp) on lanes whose memory is not the host's: CudaLane, or GenericLane where there is
// no GPU. A block is uploaded, taken tile by tile through features, posterior and statistics, and its statistics are
// added to the lane's exact sums, all on the device; the host sees sums alone, once a pass.
template <class Kernel, class Real, class DeviceLane>
class KernelEngine final : public DeviceEngine {
 public:
  // `statistics` is the model's and must outlive this.
  KernelEngine(const Kernel& kernel, Coefficients coefficients, const Layout& statistics, Index components,
               const BindOptions& options)
      : kernel_(kernel),
        coefficients_(std::move(coefficients)),
        statistics_(statistics),
        components_(components),
        row_memory_(options.row_memory),
        tile_rows_(device_tile_rows<Real>(kernel.feature_width() + components)),
        candidates_(static_cast<std::size_t>(options.candidates)),
        lanes_(static_cast<std::size_t>(options.lanes)) {
    for (Candidate& candidate : candidates_) {
      candidate.exact.reserve(coefficients_.count);
      candidate.rounded.reserve(coefficients_.count);
    }
    const Index size = statistics_.size(), all = size * options.candidates;
    limits_.reserve(size);
    units_.reserve(size);
    buffer_.reserve(Tally::buffer_size(options.candidates, statistics_));
    for (Lane& lane : lanes_) {
      if (options.precision == Precision::tf32) lane.compute.allow_tf32();
      lane.statistics.reserve(all);
      lane.high.reserve(all);
      lane.low.reserve(all);
      lane.misses.reserve(all);
    }
  }

  void prepare(int candidate, std::span<const double> parameters) override {
    Candidate& to = candidates_[static_cast<std::size_t>(candidate)];
    std::vector<double> exact(static_cast<std::size_t>(coefficients_.count));
    coefficients_.compute(parameters, std::span(exact));
    const std::vector<Real> rounded(exact.begin(), exact.end());
    DeviceLane& lane = first_lane();
    lane.upload(exact.data(), to.exact.data(), coefficients_.count);
    lane.upload(rounded.data(), to.rounded.data(), coefficients_.count);
  }

  void begin(std::span<const std::int32_t> candidates, std::span<const Grid> grids, Index most_blocks) override {
    running_.assign(candidates.begin(), candidates.end());
    upload_grids(grids);
    const Index all = statistics_.size() * static_cast<Index>(candidates_.size());
    for (Lane& lane : lanes_) {
      lane.compute.select_device();
      lane.objectives.reserve(most_blocks * static_cast<Index>(running_.size()));
      lane.compute.clear(lane.objectives.data(), most_blocks * static_cast<Index>(running_.size()));
      lane.compute.clear(lane.high.data(), all);
      lane.compute.clear(lane.low.data(), all);
      lane.compute.clear(as_bytes(lane.misses.data()), all * static_cast<Index>(sizeof(generic::Misses)));
      lane.blocks = 0;
    }
  }

  bool add(int index, const HostBlock& block, Index slot) override {
    Lane& lane = lane_at(index);
    if (Rows* const kept = slot >= 0 && !block.given ? place_for(lane, block, slot) : nullptr) {
      send(lane, block, *kept);
      add_rows(lane, *kept);
      return true;
    }
    const int place = take_turn(lane);
    Rows& rows = lane.rows[static_cast<std::size_t>(place)];
    lane.compute.begin_transfer(place);
    send(lane, block, rows);
    if (block.given)
      add_given_rows(lane, block, rows);
    else
      add_rows(lane, rows);
    lane.compute.end_use(place);
    return false;
  }

  void add_kept(int index, Index slot) override { add_rows(lane_at(index), *kept_[static_cast<std::size_t>(slot)]); }

  void finish() override {
    objectives_.clear();
    for (Lane& lane : lanes_) {
      lane.compute.select_device();
      carry(lane);
      lane.compute.wait();
      const std::size_t before = objectives_.size();
      const Index count = lane.blocks * static_cast<Index>(running_.size());
      objectives_.resize(before + static_cast<std::size_t>(count));
      lane.compute.download(lane.objectives.data(), objectives_.data() + before, count);
    }
    DeviceLane& compute = first_lane();
    Lane& total = lanes_.front();
    const Index all = statistics_.size() * static_cast<Index>(candidates_.size());
    for (std::size_t i = 1; i < lanes_.size(); ++i) {
      Lane& lane = lanes_[i];
      run(compute, generic::MergeSums{lane.high.data(), lane.low.data(), lane.misses.data(), total.high.data(),
                                      total.low.data(), total.misses.data(), all});
    }
    carry(total);
    collect_misses();
    write_statistics();
  }

  std::vector<double> objectives() override { return objectives_; }
  std::vector<GridReport> reports() override { return reports_; }

  void read(Index first, std::span<std::int64_t> out) override {
    first_lane().download(buffer_.data() + first, out.data(), static_cast<Index>(out.size()));
  }
  void write(Index first, std::span<const std::int64_t> values) override {
    first_lane().upload(values.data(), buffer_.data() + first, static_cast<Index>(values.size()));
  }

  std::span<std::int64_t> buffer() override {
    const Index size = Tally::buffer_size(static_cast<int>(candidates_.size()), statistics_);
    return {buffer_.data(), static_cast<std::size_t>(size)};
  }

  void evaluate(int index, const HostBlock& block, const RowOutputs& outputs) override {
    Lane& lane = lane_at(index);
    const int place = take_turn(lane);
    Rows& rows = lane.rows[static_cast<std::size_t>(place)];
    lane.compute.begin_transfer(place);
    send(lane, block, rows);
    for_each_tile(lane, rows, [&](const Tile<Real>& tile, Index first) {
      evaluate_tile(lane, tile, first, outputs);
    });
    lane.compute.end_use(place);
  }

  Index memory_bytes() const noexcept override {
    Index bytes = limits_.bytes() + units_.bytes() + buffer_.bytes() + kept_bytes_.load();
    for (const Candidate& candidate : candidates_) bytes += candidate.exact.bytes() + candidate.rounded.bytes();
    for (const Lane& lane : lanes_)
      bytes += lane.compute.scratch_bytes() + lane.rows[0].bytes() + lane.rows[1].bytes() + lane.features.bytes() + lane.posterior.bytes() +
               lane.row_values.bytes() + lane.row_offsets.bytes() + lane.row_objectives.bytes() + lane.labels.bytes() +
               lane.statistics.bytes() + lane.objectives.bytes() + lane.high.bytes() + lane.low.bytes() +
               lane.misses.bytes();
    return bytes;
  }

 private:
  template <class T>
  using Memory = typename DeviceLane::template Memory<T>;
  static constexpr Index misses_per_run = 1024;
  static constexpr Index blocks_per_carry = additions_per_carry / 4;

  struct Candidate {
    Memory<double> exact;
    Memory<Real> rounded;
  };
  // The rows of one block on the device.
  struct Rows {
    Index first_row = 0, count = 0, columns = 0;
    Memory<Real> x;
    Memory<double> weights, offsets;
    bool weighted = false, with_offsets = false;
    Index bytes() const noexcept { return x.bytes() + weights.bytes() + offsets.bytes(); }
  };
  struct Lane {
    DeviceLane compute;
    std::array<Rows, 2> rows;  // of blocks that are not kept: one arrives while the other is computed on
    int turn = 0;
    // Of the device, rows of a tile each.
    Memory<Real> features, posterior, row_values;
    Memory<double> row_offsets, row_objectives;
    Memory<std::int32_t> labels;
    // Of the device: the statistics of a block and exact sums for each candidate, the objectives of all blocks.
    Memory<double> statistics, objectives;
    Memory<std::int64_t> high, low;
    Memory<generic::Misses> misses;
    Index blocks = 0;
    // Of the host.
    std::vector<Real> host_posterior;
    std::vector<std::int32_t> host_labels;
  };

  static unsigned char* as_bytes(void* memory) { return static_cast<unsigned char*>(memory); }
  template <class Functor>
  static void run(DeviceLane& lane, const Functor& f) {
    lane.for_each(f.count(), f);
  }

  DeviceLane& first_lane() {
    lanes_.front().compute.select_device();
    return lanes_.front().compute;
  }
  Lane& lane_at(int index) {
    Lane& lane = lanes_[static_cast<std::size_t>(index)];
    lane.compute.select_device();
    return lane;
  }
  // Rows of the feature matrix begin on cache lines' multiples.
  Index feature_stride() const { return (kernel_.feature_width() + 7) / 8 * 8; }

  void upload_grids(std::span<const Grid> grids) {
    std::vector<double> limits, units;
    for (std::size_t f = 0; f < grids.size(); ++f) {
      const auto size = static_cast<std::size_t>(statistics_.fields()[f].size);
      limits.insert(limits.end(), size, std::ldexp(1.0, grids[f].exponent));
      units.insert(units.end(), size, grids[f].unit());
    }
    first_lane().upload(limits.data(), limits_.data(), statistics_.size());
    first_lane().upload(units.data(), units_.data(), statistics_.size());
  }

  // Room for a block that stays, or null.
  Rows* place_for(Lane& lane, const HostBlock& block, Index slot) {
    const Index bytes = block.rows * (block.columns * static_cast<Index>(sizeof(Real)) + (block.weights ? 8 : 0) +
                                      (block.offsets ? 8 : 0));
    const std::lock_guard lock(keeping_);
    const Index allowed = row_memory_ > 0 ? row_memory_ - kept_bytes_.load() : std::numeric_limits<Index>::max();
    const Index room = std::min(allowed, lane.compute.bytes_to_spare());
    if (bytes > room) return nullptr;
    if (static_cast<std::size_t>(slot) >= kept_.size()) kept_.resize(static_cast<std::size_t>(slot) + 1);
    kept_[static_cast<std::size_t>(slot)] = std::make_unique<Rows>();
    kept_bytes_ += bytes;
    return kept_[static_cast<std::size_t>(slot)].get();
  }

  // The place for the next block that is not kept.
  int take_turn(Lane& lane) {
    lane.turn = 1 - lane.turn;
    return lane.turn;
  }

  void send(Lane& lane, const HostBlock& block, Rows& to) {
    to.first_row = block.first_row;
    to.count = block.rows;
    to.columns = block.columns;
    to.weighted = block.weights != nullptr;
    to.with_offsets = block.offsets != nullptr;
    to.x.reserve(block.rows * to.columns);
    lane.compute.transfer(static_cast<const Real*>(block.x), to.x.data(), block.rows * to.columns);
    if (to.weighted) {
      to.weights.reserve(block.rows);
      lane.compute.transfer(block.weights, to.weights.data(), block.rows);
    }
    if (to.with_offsets) {
      to.offsets.reserve(block.rows);
      lane.compute.transfer(block.offsets, to.offsets.data(), block.rows);
    }  lane.compute.end_transfer();
  }

  // Calls visit(tile, first row within the block) for each tile, in order.
  template <class Visit>
  void for_each_tile(Lane& lane, Rows& rows, const Visit& visit) {
    const Index most = std::min(tile_rows_, rows.count);
    lane.features.reserve(most * feature_stride());
    lane.posterior.reserve(most * components_);
    lane.row_values.reserve(most);
    lane.row_offsets.reserve(most);
    lane.row_objectives.reserve(most);
    lane.labels.reserve(most);
    for (Index first = 0; first < rows.count; first += tile_rows_) {
      Tile<Real> tile;
      tile.first_row = rows.first_row + first;
      tile.x = MatrixView<const Real>(rows.x.data() + first * rows.columns, std::min(tile_rows_, rows.count - first),
                                      rows.columns);
      if (rows.weighted) tile.weights = rows.weights.data() + first;
      if (rows.with_offsets) tile.offsets = rows.offsets.data() + first;
      visit(static_cast<const Tile<Real>&>(tile), first);
    }
  }

  MatrixView<const Real> features_of(Lane& lane, const Tile<Real>& tile) {
    const MatrixView<Real> features(lane.features.data(), tile.rows(), kernel_.feature_width(), feature_stride());
    kernel_.features(lane.compute, tile, features);
    return features;
  }

  CandidateWork<Real> work_of(Lane& lane, Index rows, int candidate) {
    Candidate& of = candidates_[static_cast<std::size_t>(candidate)];
    return {of.rounded.data(),      of.exact.data(),
            MatrixView<Real>(lane.posterior.data(), rows, components_),
            lane.labels.data(),     lane.row_values.data(),
            lane.row_offsets.data()};
  }

  // What a kernel's host functions see.
  CandidateWork<Real> host_work(Lane& lane, Index rows) {
    lane.host_posterior.resize(static_cast<std::size_t>(rows * components_));
    lane.host_labels.resize(static_cast<std::size_t>(rows));
    CandidateWork<Real> work;
    work.posterior = MatrixView<Real>(lane.host_posterior.data(), rows, components_);
    work.labels = lane.host_labels.data();
    return work;
  }

  double* statistics_of(Lane& lane, std::size_t running) {
    return lane.statistics.data() + static_cast<Index>(running) * statistics_.size();
  }

  void add_rows(Lane& lane, Rows& rows) {
    const auto count = static_cast<Index>(running_.size());
    lane.compute.clear(lane.statistics.data(), count * statistics_.size());
    double* const objectives = lane.objectives.data() + lane.blocks * count;
    for_each_tile(lane, rows, [&](const Tile<Real>& tile, Index) {
      const MatrixView<const Real> features = features_of(lane, tile);
      for (std::size_t c = 0; c < running_.size(); ++c) {
        CandidateWork<Real> work = work_of(lane, tile.rows(), running_[c]);
        kernel_.expect(lane.compute, tile, features, work, nullptr, objectives + c);
        kernel_.add_statistics(lane.compute, tile, features, work, statistics_of(lane, c));
      }
    });
    end_block(lane);
  }

  void add_given_rows(Lane& lane, const HostBlock& block, Rows& rows) {
    lane.compute.clear(lane.statistics.data(), static_cast<Index>(running_.size()) * statistics_.size());
    for_each_tile(lane, rows, [&](const Tile<Real>& tile, Index first) {
      const MatrixView<const Real> features = features_of(lane, tile);
      for (std::size_t c = 0; c < running_.size(); ++c) {
        CandidateWork<Real> given = host_work(lane, tile.rows()), work = work_of(lane, tile.rows(), running_[c]);
        kernel_.take_given(lane.compute, host_tile(block, first, tile.rows()), given);
        lane.compute.upload(given.posterior.data, work.posterior.data, tile.rows() * components_);
        kernel_.add_given_statistics(lane.compute, tile, features, work, statistics_of(lane, c));
      }
    });
    end_block(lane);
  }

  // A tile of what the host handed over, without its rows.
  Tile<Real> host_tile(const HostBlock& block, Index first, Index count) const {
    Tile<Real> tile;
    tile.first_row = block.first_row + first;
    tile.x = MatrixView<const Real>(static_cast<const Real*>(block.x) + first * block.columns, count,
                                    block.columns);
    if (block.weights) tile.weights = block.weights + first;
    tile.given = MatrixView<const double>(block.given + first * block.given_columns, count, block.given_columns);
    return tile;
  }

  // Adds the block's statistics to the lane's exact sums.
  void end_block(Lane& lane) {
    const Index size = statistics_.size();
    for (std::size_t c = 0; c < running_.size(); ++c) {
      const Index at = running_[c] * size;
      run(lane.compute,
          generic::AddToSums{statistics_of(lane, c), size, limits_.data(), units_.data(), lane.high.data() + at,
                             lane.low.data() + at, lane.misses.data() + at});
    }
    if (++lane.blocks % blocks_per_carry == 0) carry(lane);
  }
  void carry(Lane& lane) {
    const Index all = statistics_.size() * static_cast<Index>(candidates_.size());
    run(lane.compute, generic::CarrySums{lane.high.data(), lane.low.data(), all});
  }

  // Sums what the first lane's elements missed, for each candidate and field, and takes it to the host.
  void collect_misses() {
    DeviceLane& compute = first_lane();
    const std::size_t field_count = statistics_.fields().size();
    const Index runs = (statistics_.size() + misses_per_run - 1) / misses_per_run;
    miss_runs_.reserve(runs);
    miss_sums_.reserve(static_cast<Index>(candidates_.size() * field_count));
    Index next = 0;
    for (const int candidate : running_)
      for (const Field& field : statistics_.fields()) {
        const generic::Misses* from = lanes_.front().misses.data() + candidate * statistics_.size() + field.offset;
        const generic::SumMisses first{from, field.size, misses_per_run, miss_runs_.data()};
        run(compute, first);
        run(compute, generic::SumMisses{miss_runs_.data(), first.count(), std::max<Index>(first.count(), 1),
                                        miss_sums_.data() + next++});
      }
    std::vector<generic::Misses> sums(static_cast<std::size_t>(next));
    compute.download(miss_sums_.data(), sums.data(), next);
    reports_.assign(field_count, GridReport());
    non_finite_.assign(candidates_.size(), 0);
    std::size_t i = 0;
    for (const int candidate : running_)
      for (GridReport& report : reports_) {
        const generic::Misses& sum = sums[i++];
        GridReport mine;
        mine.misfits = sum.misfits;
        mine.non_finite = sum.non_finite;
        if (sum.largest > 0) mine.largest_exponent = std::ilogb(sum.largest) + 1;
        report.merge(mine);
        non_finite_[static_cast<std::size_t>(candidate)] += sum.non_finite;
      }
  }

  // Puts the first lane's sums where a tally has them.
  void write_statistics() {
    DeviceLane& compute = first_lane();
    const Index size = statistics_.size();
    compute.clear(buffer_.data(), Tally::buffer_size(static_cast<int>(candidates_.size()), statistics_));
    for (const int candidate : running_) {
      const Tally::Place place = Tally::place_of(candidate, statistics_);
      compute.upload(&non_finite_[static_cast<std::size_t>(candidate)], buffer_.data() + place.non_finite, 1);
      run(compute, generic::CopyIntegers{lanes_.front().high.data() + candidate * size, buffer_.data() + place.high, size});
      run(compute, generic::CopyIntegers{lanes_.front().low.data() + candidate * size, buffer_.data() + place.low, size});
    }
  }

  void evaluate_tile(Lane& lane, const Tile<Real>& tile, Index first, const RowOutputs& outputs) {
    const Index rows = tile.rows();
    CandidateWork<Real> work = work_of(lane, rows, 0);
    lane.objectives.reserve(1);
    kernel_.expect(lane.compute, tile, features_of(lane, tile), work, lane.row_objectives.data(),
                   lane.objectives.data());
    if (outputs.objectives) lane.compute.download(lane.row_objectives.data(), outputs.objectives + first, rows);
    if (!outputs.labels && !outputs.responsibilities) return;
    CandidateWork<Real> seen = host_work(lane, rows);
    lane.compute.download(work.posterior.data, seen.posterior.data, rows * components_);
    lane.compute.download(work.labels, seen.labels, rows);
    if (outputs.labels) kernel_.labels(tile, seen, outputs.labels + first);
    if (outputs.responsibilities) kernel_.responsibilities(tile, seen, outputs.responsibilities + first * components_);
  }

  const Kernel kernel_;
  const Coefficients coefficients_;
  const Layout& statistics_;
  Index components_, row_memory_, tile_rows_;
  std::vector<Candidate> candidates_;
  std::vector<Lane> lanes_;
  std::vector<int> running_;
  Memory<double> limits_, units_;
  Memory<std::int64_t> buffer_;  // as a tally's
  Memory<generic::Misses> miss_runs_, miss_sums_;
  std::vector<double> objectives_;
  std::vector<GridReport> reports_;
  std::vector<std::int64_t> non_finite_;
  std::mutex keeping_;
  std::vector<std::unique_ptr<Rows>> kept_;
  std::atomic<Index> kept_bytes_ = 0;
};

// Binds a kernel to lanes of this type in the precision asked for. Double and float are both compiled into every
// model's object.
template <class DeviceLane, class Kernel>
std::unique_ptr<BoundModel> bind_to_lanes(const Kernel& kernel, const Coefficients& coefficients,
                                          const Layout& statistics, Index components, const BindOptions& options) {
  std::unique_ptr<DeviceEngine> engine;
  if (in_float(options.precision))
    engine = std::make_unique<KernelEngine<Kernel, float, DeviceLane>>(kernel, coefficients, statistics, components,
                                                                       options);
  else
    engine = std::make_unique<KernelEngine<Kernel, double, DeviceLane>>(kernel, coefficients, statistics, components,
                                                                        options);
  return std::make_unique<BoundDeviceModel>(std::move(engine), statistics, components, options);
}

}  // namespace tally
