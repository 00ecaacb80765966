#include "algorithms/bound_device_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <optional>

#include "algorithms/chain_order.hpp"
#include "algorithms/kernel.hpp"
#include "algorithms/latent/chain_shape.hpp"
#include "core/error.hpp"
#include "core/tile_reader.hpp"

namespace tally {
namespace {

std::vector<Index> all_blocks(const Shard& shard) {
  std::vector<Index> all(static_cast<std::size_t>(shard.block_count()));
  std::iota(all.begin(), all.end(), Index{0});
  return all;
}

}  // namespace

BoundDeviceModel::BoundDeviceModel(std::unique_ptr<DeviceEngine> engine, const Layout& statistics, Index components,
                                   const BindOptions& options, bool counts_given)
    : engine_(std::move(engine)),
      statistics_(statistics),
      components_(components),
      precision_(options.precision),
      lanes_(options.lanes),
      candidates_(options.candidates),
      counts_given_(counts_given) {
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
        const std::vector<Piece> pieces = shard.plan().pieces_of(block.number);
        readers[static_cast<std::size_t>(lane)].for_each_tile(block, given_columns, [&](const Tile<Real>& tile) {
          HostBlock host;
          host.first_row = tile.first_row;
          host.rows = tile.rows();
          host.columns = tile.x.cols;
          host.x = tile.x.data;
          host.weights = tile.weights;
          host.offsets = tile.offsets;
          host.given = tile.given.data;
          host.given_columns = given_columns;
          host.missing = tile.missing;
          host.pieces = pieces.empty() ? nullptr : pieces.data();
          host.piece_count = static_cast<Index>(pieces.size());
          visit(lane, host);
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

template <class WithKept, class WithRows>
void BoundDeviceModel::for_each_block(Shard& shard, std::span<const Index> blocks, const WithKept& with_kept,
                                      const WithRows& with_rows, const Shard::Pulse& pulse) {
  kept_.resize(static_cast<std::size_t>(shard.block_count()));
  std::vector<Index> arriving;
  int lane = 0;
  for (const Index block : blocks) {
    if (!kept_[static_cast<std::size_t>(block)]) {
      arriving.push_back(block);
      continue;
    }
    with_kept(lane, block);
    lane = (lane + 1) % lanes_;
    if (pulse) pulse();
  }
  if (arriving.empty()) return;  // no lane's thread is started for nothing
  for_each_host_block(
      shard, arriving, true,
      [&](int on, HostBlock host) {
        // Labels that still stand beside the rows hold beside the model.
        if (host.given_columns == 1) host.known = host.given;
        host.given = nullptr;
        if (host.known)
          check_known(MatrixView<const double>(host.known, host.rows, 1), host.first_row, components_);
        const Index block = shard.plan().block_of(host.first_row) - shard.first_block();
        if (with_rows(on, block, host)) kept_[static_cast<std::size_t>(block)] = 1;
      },
      pulse);
}

void BoundDeviceModel::accumulate(Shard& shard, std::span<const int> candidates, PassKind kind, Tally& tally,
                                  const Shard::Pulse& pulse) {
  engine_->begin(std::vector<std::int32_t>(candidates.begin(), candidates.end()), tally.grids(), shard.block_count());
  impossible_row_.reset();
  const std::vector<Index> all = all_blocks(shard);
  if (kind == PassKind::given)
    for_each_host_block(
        shard, all, true, [&](int lane, const HostBlock& host) { engine_->add(lane, host, -1); }, pulse);
  else
    for_each_block(
        shard, all, [&](int lane, Index block) { engine_->add_kept(lane, block); },
        [&](int lane, Index block, const HostBlock& host) { return engine_->add(lane, host, block); }, pulse);
  engine_->finish();
  tally.add_rows(shard.local_rows());
  take(tally, candidates);
}

void BoundDeviceModel::exchange_messages(Shard& shard, std::span<const int> candidates, PassKind kind,
                                         MessageExchange& exchange, const Shard::Pulse& pulse) {
  const BlockPlan& plan = shard.plan();
  if (plan.cut_piece_count() == 0 || (kind == PassKind::given && !counts_given_)) return;
  const bool given = kind == PassKind::given;
  // Once, all ranks together: where one had no memory between messages, the others would wait for it.
  if (messages_.piece_count() != plan.cut_piece_count() || (!given && !products_))
    exchange.agree([&] {
      messages_ = ChainMessages(plan, components_, candidates_);
      if (!given) products_.emplace(plan, components_, candidates_);
    });
  messages_.clear();
  if (given) {
    exchange.locally([&] { find_given(shard, pulse); });
    exchange.share(messages_.values());
  } else {
    products_->clear();
    exchange.locally([&] { compose(shard, candidates, kind, pulse); });
    exchange.share(products_->values());
  }
  exchange.locally([&] {
    if (!given) products_->scan(candidates, cut_pieces(plan), messages_, in_float(precision_) ? 0x1p-126 : 0x1p-1022);
    engine_->set_messages(messages_.values());
  });
}

// What each piece does to any message. Rows that are evaluated are no pass's: none of them stays on the device.
void BoundDeviceModel::compose(Shard& shard, std::span<const int> candidates, PassKind kind, const Shard::Pulse& pulse) {
  const std::vector<std::int32_t> running(candidates.begin(), candidates.end());
  std::vector<std::vector<double>> of_lanes(static_cast<std::size_t>(lanes_));
  const auto with_room = [&](int lane, Index block, const auto& work) {
    const std::vector<Piece> pieces = shard.plan().pieces_of(shard.first_block() + block);
    const auto size = static_cast<std::ptrdiff_t>(pieces.size()) * (components_ + 1) * components_;
    std::vector<double>& room = of_lanes[static_cast<std::size_t>(lane)];
    room.resize(static_cast<std::size_t>(size) * running.size());
    const bool result = work(room.data());
    for (std::size_t c = 0; c < running.size(); ++c)
      std::copy_n(room.begin() + static_cast<std::ptrdiff_t>(c) * size, size,
                  products_->at(running[c], pieces.front().number).vectors);
    return result;
  };
  const std::vector<Index> blocks = cut_blocks(shard);
  if (kind == PassKind::evaluation)
    return for_each_host_block(
        shard, blocks, false,
        [&](int lane, HostBlock host) {
          host.given = nullptr;
          with_room(lane, shard.plan().block_of(host.first_row) - shard.first_block(), [&](double* room) {
            return engine_->compose(lane, host, -1, running, room);
          });
        },
        pulse);
  for_each_block(
      shard, blocks,
      [&](int lane, Index block) {
        with_room(lane, block, [&](double* room) {
          engine_->compose_kept(lane, block, running, room);
          return true;
        });
      },
      [&](int lane, Index block, const HostBlock& host) {
        return with_room(lane, block, [&](double* room) {
          return engine_->compose(lane, host, block, running, room);
        });
      },
      pulse);
}

// What was given for the last step of each piece that goes on.
void BoundDeviceModel::find_given(Shard& shard, const Shard::Pulse& pulse) {
  const auto K = static_cast<std::size_t>(components_);
  for_each_host_block(
      shard, cut_blocks(shard), false,
      [&](int, const HostBlock& host) {
        for (Index p = 0; p < host.piece_count; ++p) {
          const Piece& piece = host.pieces[p];
          if (piece.ends) continue;
          const Index last = piece.first + piece.steps - 1;
          Tile<double> step;
          step.first_row = host.first_row + last;
          step.x = MatrixView<const double>(nullptr, 1, 0);
          step.given = MatrixView<const double>(host.given + last * host.given_columns, 1, host.given_columns);
          std::vector<double> posterior(K);
          posterior_from_given(step, MatrixView<double>(posterior.data(), 1, components_));
          for (int c = 0; c < candidates_; ++c) std::ranges::copy(posterior, messages_.incoming(c, piece.number + 1).begin());
        }
      },
      pulse);
}

Index BoundDeviceModel::impossible_row(int candidate) const {
  return impossible_row_ ? *impossible_row_ : engine_->impossible_row(candidate);
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
  impossible_row_ = -1;
  std::mutex finding;
  for_each_host_block(
      shard, all_blocks(shard), false,
      [&](int lane, HostBlock block) {
        Results& of = results[static_cast<std::size_t>(lane)];
        const auto rows = static_cast<std::size_t>(block.rows);
        of.objectives.resize(rows);
        if (wanted.labels) of.labels.resize(rows);
        if (wanted.responsibilities) of.responsibilities.resize(rows * static_cast<std::size_t>(components_));
        block.given = nullptr;
        const RowOutputs outputs{wanted.labels ? of.labels.data() : nullptr, of.objectives.data(),
                                 wanted.responsibilities ? of.responsibilities.data() : nullptr, wanted.filtered};
        engine_->evaluate(lane, block, outputs);
        if (block.pieces) {
          const auto impossible = std::ranges::find_if(of.objectives, [](double value) { return !std::isfinite(value); });
          const std::lock_guard lock(finding);
          const Index row = block.first_row + (impossible - of.objectives.begin());
          if (impossible != of.objectives.end() && (*impossible_row_ < 0 || row < *impossible_row_)) impossible_row_ = row;
        }
        visit(block.first_row, block.rows, {outputs.labels, outputs.objectives, outputs.responsibilities, block.missing});
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
                                            options, model.options().contains("count_transitions"));
}

}  // namespace tally
