#include "algorithms/bound_device_model.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>

#include "core/error.hpp"
#include "core/tile_reader.hpp"

namespace tally {

BoundDeviceModel::BoundDeviceModel(std::unique_ptr<DeviceEngine> engine, const Layout& statistics, Index components,
                                   const BindOptions& options)
    : engine_(std::move(engine)),
      statistics_(statistics),
      components_(components),
      precision_(options.precision),
      lanes_(options.lanes),
      candidates_(options.candidates) {
  if (options.summation != Summation::exact) throw UsageError("a device sums exactly only; plain sums are the CPU's");
}

void BoundDeviceModel::prepare(int candidate, std::span<const double> parameters) {
  engine_->prepare(candidate, parameters);
}

template <class Real, class Visit>
void BoundDeviceModel::for_each_host_block(Shard& shard, std::span<const Index> blocks, bool weighted,
                                           const Visit& visit, const Shard::Pulse& pulse) const {
  std::vector<TileReader<Real>> readers(static_cast<std::size_t>(lanes_),
                                        TileReader<Real>(*shard.preparation(), shard.plan().most_rows()));
  shard.for_each_block(
      blocks,
      [&](int lane, const StoredBlock& stored) {
        StoredBlock block = stored;
        if (!weighted) block.weights = nullptr;
        const Index given_columns = shard.given_columns();
        readers[static_cast<std::size_t>(lane)].for_each_tile(block, given_columns, [&](const Tile<Real>& tile) {
          visit(lane, HostBlock{tile.first_row, tile.rows(), tile.x.cols, tile.x.data, tile.weights, tile.offsets,
                                tile.given.data, given_columns});
        });
      },
      pulse);
}

template <class Visit>
void BoundDeviceModel::for_each_host_block(Shard& shard, std::span<const Index> blocks, bool weighted,
                                           const Visit& visit, const Shard::Pulse& pulse) const {
  if (in_float(precision_))
    for_each_host_block<float>(shard, blocks, weighted, visit, pulse);
  else
    for_each_host_block<double>(shard, blocks, weighted, visit, pulse);
}

void BoundDeviceModel::accumulate(Shard& shard, std::span<const int> candidates, PassKind kind, Tally& tally,
                                  const Shard::Pulse& pulse) {
  kept_.resize(static_cast<std::size_t>(shard.block_count()));
  engine_->begin(std::vector<std::int32_t>(candidates.begin(), candidates.end()), tally.grids(), shard.block_count());
  const bool given = kind == PassKind::given;
  std::vector<Index> arriving;
  int lane = 0;
  for (Index block = 0; block < shard.block_count(); ++block) {
    if (given || !kept_[static_cast<std::size_t>(block)]) {
      arriving.push_back(block);
      continue;
    }
    engine_->add_kept(lane, block);
    lane = (lane + 1) % lanes_;
    if (pulse) pulse();
  }
  for_each_host_block(
      shard, arriving, true,
      [&](int on, HostBlock block) {
        const Index local = shard.plan().block_of(block.first_row) - shard.first_block();
        if (!given) block.given = nullptr;
        if (engine_->add(on, block, given ? -1 : local)) kept_[static_cast<std::size_t>(local)] = 1;
      },
      pulse);
  engine_->finish();
  tally.add_rows(shard.local_rows());
  take(tally, candidates);
}

void BoundDeviceModel::take(Tally& tally, std::span<const int> candidates) {
  const std::vector<double> objectives = engine_->objectives();
  for (std::size_t i = 0; i < objectives.size(); ++i) tally.add_objective(candidates[i % candidates.size()], objectives[i]);
  const std::vector<GridReport> reports = engine_->reports();
  const std::size_t fields = statistics_.fields().size();
  for (std::size_t i = 0; i < reports.size(); ++i) tally.add_report(candidates[i / fields], i % fields, reports[i]);
  if (!engine_->sum_over_ranks()) {  // else the limbs stay where they are summed
    for (const int candidate : candidates) {
      const Tally::Place place = Tally::place_of(candidate, statistics_);
      engine_->read(place.high, tally.buffer().subspan(static_cast<std::size_t>(place.high),
                                                       static_cast<std::size_t>(place.end - place.high)));
    }
  }
  tally.carry();
}

void BoundDeviceModel::before_sum(const Tally& tally) {
  const auto buffer = const_cast<Tally&>(tally).buffer();
  const auto write = [&](Index first, Index last) {
    engine_->write(first, buffer.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first)));
  };
  write(0, Tally::counter_count);
  for (int candidate = 0; candidate < candidates_; ++candidate) {
    const Tally::Place place = Tally::place_of(candidate, statistics_);
    write(place.non_finite, place.high);
  }
}

void BoundDeviceModel::after_sum(Tally& tally) { engine_->read(0, tally.buffer()); }

void BoundDeviceModel::evaluate(Shard& shard, Wanted wanted, const VisitRows& visit, const Shard::Pulse& pulse) {
  struct Results {
    std::vector<std::int32_t> labels;
    std::vector<double> objectives, responsibilities;
  };
  std::vector<Results> results(static_cast<std::size_t>(lanes_));
  std::vector<Index> all(static_cast<std::size_t>(shard.block_count()));
  std::iota(all.begin(), all.end(), Index{0});
  for_each_host_block(
      shard, all, false,
      [&](int lane, HostBlock block) {
        Results& of = results[static_cast<std::size_t>(lane)];
        const auto rows = static_cast<std::size_t>(block.rows);
        of.objectives.resize(rows);
        if (wanted.labels) of.labels.resize(rows);
        if (wanted.responsibilities) of.responsibilities.resize(rows * static_cast<std::size_t>(components_));
        block.given = nullptr;
        const RowOutputs outputs{wanted.labels ? of.labels.data() : nullptr, of.objectives.data(),
                                 wanted.responsibilities ? of.responsibilities.data() : nullptr};
        engine_->evaluate(lane, block, outputs);
        visit(block.first_row, block.rows, {outputs.labels, outputs.objectives, outputs.responsibilities});
      },
      pulse);
}

std::unique_ptr<BoundModel> bind_model(const Model& model, const BindOptions& options) {
  if (!options.device) return model.bind(options);
  EngineRequest request;
  request.model = model.name();
  request.components = model.components();
  request.columns = model.columns();
  for (const auto& option : model.options()) request.options.push_back(option);
  request.standardisation = model.standardisation();
  request.precision = options.precision;
  request.lanes = options.lanes;
  request.candidates = options.candidates;
  request.row_memory = options.row_memory;
  request.parameters = model.parameters().size();
  request.statistics = model.statistics().size();
  return std::make_unique<BoundDeviceModel>(options.device->open(request), model.statistics(), model.components(),
                                            options);
}

}  // namespace tally
