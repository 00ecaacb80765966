#include "bench/simulate/simulated_device.hpp"

#include <simgrid/s4u/Actor.hpp>

#include "algorithms/bound_device_model.hpp"
#include "core/exact_sum.hpp"
#include "core/io_executor.hpp"

namespace tally::simulation {

TypicalRow typical_row(const Model& model, std::span<const double> parameters, const RowSource& source,
                       Index rows) {
  const BlockPlan plan = BlockPlan::uniform(2 * rows, rows);
  const std::vector<Grid> grids(model.statistics().fields().size());
  TypicalRow row;
  for (int half = 0; half < 2; ++half) {
    IoExecutor io;
    Shard shard(io, Inputs{&source, nullptr, nullptr}, plan, ShardRange{half, half + 1}, {});
    shard.prepare({model.standardisation(), model.log_base_measure()}, {});
    BindOptions options;
    options.summation = Summation::plain;
    const auto bound = bind_model(model, options);
    bound->prepare(0, {parameters.begin(), parameters.end()});
    Tally tally(1, model.statistics(), grids, Summation::plain);
    const int candidates[] = {0};
    bound->accumulate(shard, candidates, PassKind::expectation, tally, {});
    std::vector<double>& statistics = row.statistics[static_cast<std::size_t>(half)];
    statistics.resize(static_cast<std::size_t>(model.statistics().size()));
    tally.statistics(0, statistics);
    for (double& value : statistics) value /= static_cast<double>(rows);
    row.objective = tally.objective(0) / static_cast<double>(rows);
  }
  return row;
}

class SimulatedDevice::Engine final : public DeviceEngine {
 public:
  Engine(SimulatedDevice& device, const EngineRequest& request)
      : device_(device),
        statistics_(device.model_.statistics()),
        buffer_(static_cast<std::size_t>(Tally::buffer_size(request.candidates, statistics_))) {
    if (request.candidates != 1) throw UsageError("one start is simulated");
  }

  void prepare(int, std::span<const double>) override {}
  void begin(std::span<const std::int32_t>, std::span<const Grid> grids, Index) override {
    grids_.assign(grids.begin(), grids.end());
    blocks_ = rows_ = arrived_ = 0;
    device_.pass_seconds_ = 0;
  }
  // On a lane's thread, where no simulated time can pass: finish() makes up for it.
  bool add(int, const HostBlock& block, Index slot) override {
    const std::lock_guard lock(adding_);
    if (static_cast<std::size_t>(slot) >= kept_.size()) kept_.resize(static_cast<std::size_t>(slot) + 1);
    kept_[static_cast<std::size_t>(slot)] = block.rows;
    arrived_ += block.rows;
    count(block.rows);
    return true;
  }
  void add_kept(int, Index slot) override {
    compute(kept_[static_cast<std::size_t>(slot)]);
    count(kept_[static_cast<std::size_t>(slot)]);
  }
  void finish() override {
    if (arrived_ > 0) compute(arrived_);
    const Tally::Place place = Tally::place_of(0, statistics_);
    std::fill(buffer_.begin(), buffer_.end(), 0);
    std::vector<double> sums = device_.row_.statistics[static_cast<std::size_t>(pass_++ % 2)];
    for (double& value : sums) value *= static_cast<double>(rows_);
    reports_.clear();
    for (std::size_t f = 0; f < grids_.size(); ++f) {
      const Field& field = statistics_.fields()[f];
      reports_.push_back(add_to_grid(grids_[f], field.in(std::span<const double>(sums)),
                                     buffer_.data() + place.high + field.offset,
                                     buffer_.data() + place.low + field.offset));
    }
  }
  std::vector<double> objectives() override {
    if (blocks_ == 0) return {};
    return {device_.row_.objective * static_cast<double>(rows_)};
  }
  std::vector<GridReport> reports() override { return reports_; }
  void read(Index first, std::span<std::int64_t> out) override {
    std::copy_n(buffer_.begin() + first, out.size(), out.begin());
  }
  void write(Index first, std::span<const std::int64_t> values) override {
    std::copy(values.begin(), values.end(), buffer_.begin() + first);
  }
  std::span<std::int64_t> buffer() override { return buffer_; }
  void evaluate(int, const HostBlock&, const RowOutputs&) override {}
  Index memory_bytes() const noexcept override { return 0; }

 private:
  void count(Index rows) {
    ++blocks_;
    rows_ += rows;
  }
  void compute(Index rows) {
    const double seconds = device_.seconds_of_(rows, pass_);
    simgrid::s4u::this_actor::sleep_for(seconds);
    device_.pass_seconds_ += seconds;
  }

  SimulatedDevice& device_;
  const Layout& statistics_;
  std::vector<std::int64_t> buffer_;
  std::vector<Grid> grids_;
  std::vector<GridReport> reports_;
  std::mutex adding_;
  std::vector<Index> kept_;  // rows, by block
  Index blocks_ = 0, rows_ = 0, arrived_ = 0;
  int pass_ = 0;
};

std::unique_ptr<DeviceEngine> SimulatedDevice::open(const EngineRequest& request) {
  return std::make_unique<Engine>(*this, request);
}

}  // namespace tally::simulation
