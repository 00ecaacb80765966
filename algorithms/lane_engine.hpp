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

#include "algorithms/kernel.hpp"
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

// What engines have in common on lanes whose memory is not the host's: CudaLane, or GenericLane where there is no GPU.
// A block is uploaded, the engine proper computes its statistics, and these are added to the lane's exact sums, all on
// the device; the host sees sums alone, once a pass.
template <class Real, class DeviceLane>
class LaneEngine : public DeviceEngine {
 public:
  // `statistics` is the model's and must outlive this.
  LaneEngine(Coefficients coefficients, const Layout& statistics, const BindOptions& options)
      : statistics_(statistics),
        coefficients_(std::move(coefficients)),
        farthest_(farthest_from_centre<Real>(options)),
        row_memory_(options.row_memory),
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
    to.about_means = coefficients_.compute_within(farthest_, parameters, std::span(exact));
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
    if (block.given) {
      pass_through(index, block, [&](Rows& rows) { add_block(index, [&] { add_given_rows(index, block, rows); }); });
      return false;
    }
    return with_rows(index, block, slot, [&](Rows& rows) { add_block(index, [&] { add_rows(index, rows); }); });
  }

  void add_kept(int index, Index slot) override {
    lane_at(index);
    add_block(index, [&] { add_rows(index, kept(slot)); });
  }

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
    pass_through(index, block, [&](Rows& rows) { evaluate_rows(index, rows, outputs); });
  }

  Index memory_bytes() const noexcept override {
    Index bytes = limits_.bytes() + units_.bytes() + buffer_.bytes() + kept_bytes_.load();
    for (const Candidate& candidate : candidates_) bytes += candidate.exact.bytes() + candidate.rounded.bytes();
    for (const Lane& lane : lanes_)
      bytes += lane.compute.scratch_bytes() + lane.rows[0].bytes() + lane.rows[1].bytes() + lane.statistics.bytes() +
               lane.objectives.bytes() + lane.high.bytes() + lane.low.bytes() + lane.misses.bytes();
    return bytes;
  }

 protected:
  template <class T>
  using Memory = typename DeviceLane::template Memory<T>;

  struct Candidate {
    Memory<double> exact;
    Memory<Real> rounded;
    std::vector<Index> about_means;
  };
  // The rows of one block on the device.
  struct Rows {
    Index first_row = 0, count = 0, columns = 0;
    Memory<Real> x;
    Memory<double> weights, offsets, known;
    Memory<unsigned char> missing;
    Memory<Piece> pieces;
    Index piece_count = 0;
    bool weighted = false, with_offsets = false, with_known = false, with_missing = false;
    Index bytes() const noexcept {
      return x.bytes() + weights.bytes() + offsets.bytes() + known.bytes() + missing.bytes() + pieces.bytes();
    }
  };

  // Adds a block's statistics and objectives, all zero so far, for the candidates that are running: with the model's own
  // posterior, or with what `block` says was given.
  virtual void add_rows(int index, Rows& rows) = 0;
  virtual void add_given_rows(int index, const HostBlock& block, Rows& rows) = 0;
  virtual void evaluate_rows(int index, Rows& rows, const RowOutputs& outputs) = 0;

  template <class Functor>
  static void run(DeviceLane& lane, const Functor& f) {
    lane.for_each(f.count(), f);
  }

  int lane_count() const { return static_cast<int>(lanes_.size()); }
  DeviceLane& compute_of(int index) { return lanes_[static_cast<std::size_t>(index)].compute; }
  Candidate& candidate(int number) { return candidates_[static_cast<std::size_t>(number)]; }
  const std::vector<std::int32_t>& running() const { return running_; }
  Index coefficient_count() const { return coefficients_.count; }
  // Of the block at hand and the c-th candidate that is running.
  double* statistics_of(int index, std::size_t c) {
    return lanes_[static_cast<std::size_t>(index)].statistics.data() + static_cast<Index>(c) * statistics_.size();
  }
  double* objective_of(int index, std::size_t c) {
    Lane& lane = lanes_[static_cast<std::size_t>(index)];
    return lane.objectives.data() + lane.blocks * static_cast<Index>(running_.size()) + static_cast<Index>(c);
  }

  Rows& kept(Index slot) { return *kept_[static_cast<std::size_t>(slot)]; }

  // Calls work(rows) with the block's rows, which are kept where `slot` is not negative and there is room; tells whether
  // they are.
  template <class Work>
  bool with_rows(int index, const HostBlock& block, Index slot, const Work& work) {
    Lane& lane = lane_at(index);
    if (Rows* const place = slot >= 0 ? place_for(lane, block, slot) : nullptr) {
      send(lane, block, *place);
      work(*place);
      return true;
    }
    pass_through(index, block, work);
    return false;
  }

  // A tile of a block's rows, of `count` at most from row `first` of the block on.
  static Tile<Real> tile_of(Rows& rows, Index first, Index count) {
    Tile<Real> tile;
    tile.first_row = rows.first_row + first;
    tile.x = MatrixView<const Real>(rows.x.data() + first * rows.columns, std::min(count, rows.count - first), rows.columns);
    if (rows.weighted) tile.weights = rows.weights.data() + first;
    if (rows.with_offsets) tile.offsets = rows.offsets.data() + first;
    if (rows.with_missing) tile.missing = rows.missing.data() + first;
    if (rows.with_known) tile.given = MatrixView<const double>(rows.known.data() + first, tile.rows(), 1);
    return tile;
  }
  // A tile of what the host handed over with given labels or responsibilities.
  static Tile<Real> given_tile(const HostBlock& block, Index first, Index count) {
    Tile<Real> tile;
    tile.first_row = block.first_row + first;
    tile.x = MatrixView<const Real>(static_cast<const Real*>(block.x) + first * block.columns, count,
                                    block.columns);
    if (block.weights) tile.weights = block.weights + first;
    tile.given = MatrixView<const double>(block.given + first * block.given_columns, count, block.given_columns);
    return tile;
  }

  const Layout& statistics_;

 private:
  static constexpr Index misses_per_run = 1024;
  static constexpr Index blocks_per_carry = additions_per_carry / 4;

  struct Lane {
    DeviceLane compute;
    std::array<Rows, 2> rows;  // of blocks that are not kept: one arrives while the other is computed on
    int turn = 0;
    // Of the device: the statistics of a block and exact sums for each candidate, the objectives of all blocks.
    Memory<double> statistics, objectives;
    Memory<std::int64_t> high, low;
    Memory<generic::Misses> misses;
    Index blocks = 0;
  };

  static unsigned char* as_bytes(void* memory) { return static_cast<unsigned char*>(memory); }

  DeviceLane& first_lane() {
    lanes_.front().compute.select_device();
    return lanes_.front().compute;
  }
  Lane& lane_at(int index) {
    Lane& lane = lanes_[static_cast<std::size_t>(index)];
    lane.compute.select_device();
    return lane;
  }

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
                                      (block.offsets ? 8 : 0) + (block.known ? 8 : 0) + (block.missing ? 1 : 0)) +
                        block.piece_count * static_cast<Index>(sizeof(Piece));
    const std::lock_guard lock(keeping_);
    const Index allowed = row_memory_ > 0 ? row_memory_ - kept_bytes_.load() : std::numeric_limits<Index>::max();
    const Index room = std::min(allowed, lane.compute.bytes_to_spare());
    if (bytes > room) return nullptr;
    if (static_cast<std::size_t>(slot) >= kept_.size()) kept_.resize(static_cast<std::size_t>(slot) + 1);
    kept_[static_cast<std::size_t>(slot)] = std::make_unique<Rows>();
    kept_bytes_ += bytes;
    return kept_[static_cast<std::size_t>(slot)].get();
  }

  // Calls work(rows) with the rows of a block that does not stay.
  template <class Work>
  void pass_through(int index, const HostBlock& block, const Work& work) {
    Lane& lane = lane_at(index);
    const int place = lane.turn = 1 - lane.turn;
    Rows& rows = lane.rows[static_cast<std::size_t>(place)];
    lane.compute.begin_transfer(place);
    send(lane, block, rows);
    work(rows);
    lane.compute.end_use(place);
  }

  void send(Lane& lane, const HostBlock& block, Rows& to) {
    to.first_row = block.first_row;
    to.count = block.rows;
    to.columns = block.columns;
    to.weighted = block.weights != nullptr;
    to.with_offsets = block.offsets != nullptr;
    to.with_known = block.known != nullptr;
    to.with_missing = block.missing != nullptr;
    to.piece_count = block.piece_count;
    send_values(lane, static_cast<const Real*>(block.x), block.rows * to.columns, to.x);
    send_values(lane, block.weights, block.rows, to.weights);
    send_values(lane, block.offsets, block.rows, to.offsets);
    send_values(lane, block.known, block.rows, to.known);
    send_values(lane, block.missing, block.rows, to.missing);
    send_values(lane, block.pieces, block.piece_count, to.pieces);
    lane.compute.end_transfer();
  }
  template <class T>
  static void send_values(Lane& lane, const T* from, Index count, Memory<T>& to) {
    if (!from) return;
    to.reserve(count);
    lane.compute.transfer(from, to.data(), count);
  }

  // Adds what `work` makes of a block to the lane's exact sums.
  template <class Work>
  void add_block(int index, const Work& work) {
    Lane& lane = lanes_[static_cast<std::size_t>(index)];
    const Index size = statistics_.size();
    lane.compute.clear(lane.statistics.data(), static_cast<Index>(running_.size()) * size);
    work();
    for (std::size_t c = 0; c < running_.size(); ++c) {
      const Index at = running_[c] * size;
      run(lane.compute,
          generic::AddToSums{statistics_of(index, c), size, limits_.data(), units_.data(), lane.high.data() + at,
                             lane.low.data() + at, lane.misses.data() + at});
    }
    if (++lane.blocks % blocks_per_carry == 0) carry(lane);
  }
  void carry(Lane& lane) {
    const Index all = statistics_.size() * static_cast<Index>(candidates_.size());
    run(lane.compute, generic::CarrySums{lane.high.data(), lane.low.data(), all});
  }

  // Sums what the first lane's elements missed, for each candidate of the pass and field, and takes it to the host.
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
    reports_.clear();
    for (const generic::Misses& sum : sums) {
      GridReport& report = reports_.emplace_back();
      report.misfits = sum.misfits;
      report.non_finite = sum.non_finite;
      if (sum.largest > 0) report.largest_exponent = std::ilogb(sum.largest) + 1;
    }
  }

  // Puts the first lane's sums where a tally has them.
  void write_statistics() {
    DeviceLane& compute = first_lane();
    const Index size = statistics_.size();
    compute.clear(buffer_.data(), Tally::buffer_size(static_cast<int>(candidates_.size()), statistics_));
    for (const int candidate : running_) {
      const Tally::Place place = Tally::place_of(candidate, statistics_);
      run(compute, generic::CopyIntegers{lanes_.front().high.data() + candidate * size, buffer_.data() + place.high, size});
      run(compute, generic::CopyIntegers{lanes_.front().low.data() + candidate * size, buffer_.data() + place.low, size});
    }
  }

  const Coefficients coefficients_;
  const double farthest_;
  Index row_memory_;
  std::vector<Candidate> candidates_;
  std::vector<Lane> lanes_;
  std::vector<std::int32_t> running_;
  Memory<double> limits_, units_;
  Memory<std::int64_t> buffer_;  // as a tally's
  Memory<generic::Misses> miss_runs_, miss_sums_;
  std::vector<double> objectives_;
  std::vector<GridReport> reports_;
  std::mutex keeping_;
  std::vector<std::unique_ptr<Rows>> kept_;
  std::atomic<Index> kept_bytes_ = 0;
};

}  // namespace tally
