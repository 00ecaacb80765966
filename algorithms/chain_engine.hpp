#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "algorithms/families/exponential_family.hpp"
#include "algorithms/lane_engine.hpp"
#include "algorithms/latent/chain_kernel.hpp"
#include "core/backends/generic_chain.hpp"

namespace tally {

// Runs a chain kernel on lanes: a block's emissions tile by tile, then the recursions over all its pieces at once, then
// their statistics, for one candidate after the other. What BoundChainModel is for the CPU.
template <class Real, class DeviceLane>
class ChainEngine final : public LaneEngine<Real, DeviceLane> {
  using Base = LaneEngine<Real, DeviceLane>;
  using Kernel = ChainKernel<DeviceLane, Real>;
  using typename Base::Rows;
  template <class T>
  using Memory = typename Base::template Memory<T>;

 public:
  // `statistics` is the model's and must outlive this. Throws UsageError: more states than a device takes.
  ChainEngine(Kernel kernel, Coefficients coefficients, const Layout& statistics, const BindOptions& options)
      : Base(std::move(coefficients), statistics, options),
        kernel_(std::move(kernel)),
        states_(kernel_.shape().states),
        starts_at_(statistics["starts"].offset),
        transitions_at_(statistics["transitions"].offset),
        tile_rows_(device_tile_rows<Real>(kernel_.feature_width() + kernel_.shape().components())),
        candidates_(options.candidates),
        workspaces_(static_cast<std::size_t>(options.lanes)) {
    if (states_ > generic::most_chain_states)
      throw UsageError("a device takes hidden Markov models of at most " + std::to_string(generic::most_chain_states) +
                       " states; use --device cpu");
    for (Workspace& work : workspaces_) work.impossible.reserve(candidates_);
  }

  void begin(std::span<const std::int32_t> candidates, std::span<const Grid> grids, Index most_blocks) override {
    Base::begin(candidates, grids, most_blocks);
    for (int lane = 0; lane < this->lane_count(); ++lane) {
      this->compute_of(lane).select_device();
      this->compute_of(lane).clear(workspace_of(lane).impossible.data(), candidates_);
    }
  }

  void set_messages(std::span<const double> messages) override {
    const auto size = static_cast<Index>(messages.size());
    this->compute_of(0).select_device();
    messages_.reserve(size);
    this->compute_of(0).upload(messages.data(), messages_.data(), size);
    messages_of_candidate_ = size / candidates_;
  }

  bool compose(int index, const HostBlock& block, Index slot, std::span<const std::int32_t> candidates,
               double* products) override {
    return this->with_rows(index, block, slot, [&](Rows& rows) { compose_rows(index, rows, candidates, products); });
  }
  void compose_kept(int index, Index slot, std::span<const std::int32_t> candidates, double* products) override {
    this->compute_of(index).select_device();
    compose_rows(index, this->kept(slot), candidates, products);
  }

  Index impossible_row(int candidate) override {
    std::int64_t first = 0;
    for (int lane = 0; lane < this->lane_count(); ++lane) {
      std::int64_t of_lane = 0;
      this->compute_of(lane).select_device();
      this->compute_of(lane).download(workspace_of(lane).impossible.data() + candidate, &of_lane, 1);
      first = generic::FirstImpossible::Earlier{}(first, of_lane);
    }
    return first - 1;
  }

  Index memory_bytes() const noexcept override {
    Index bytes = Base::memory_bytes() + messages_.bytes();
    for (const Workspace& work : workspaces_)
      bytes += work.features.bytes() + work.row_values.bytes() + work.logits.bytes() + work.columns.bytes() +
               work.emissions.bytes() + work.alpha.bytes() + work.gamma.bytes() + work.offsets.bytes() +
               work.maxima.bytes() + work.scales.bytes() + work.objectives.bytes() + work.products.bytes() +
               work.objective.bytes() + work.piece_impossible.bytes() + work.impossible.bytes();
    return bytes;
  }

 private:
  // Of a lane.
  struct Workspace {
    // Of the device, rows of a tile each.
    Memory<Real> features, row_values;
    Index features_of = -1;  // the tile's first row in the block at hand; -1: none
    // Rows of a block; alpha has a row before the first.
    Memory<Real> logits, columns, emissions, alpha, gamma;
    Memory<double> offsets, maxima, scales, objectives;
    Memory<std::int64_t> piece_impossible;
    Memory<double> products;          // of pieces
    Memory<double> objective;         // of rows that are evaluated
    Memory<std::int64_t> impossible;  // 1 + the first row, by candidate; 0: none
    std::vector<Real> host_values;
  };

  Workspace& workspace_of(int index) { return workspaces_[static_cast<std::size_t>(index)]; }
  bool mixed() const { return kernel_.shape().mixtures > 1; }
  // Rows of the feature matrix begin on cache lines' multiples.
  Index feature_stride() const { return (kernel_.feature_width() + 7) / 8 * 8; }
  static MatrixView<Real> part(MatrixView<Real> whole, const Tile<Real>& tile, const Rows& rows) {
    return {whole.row(tile.first_row - rows.first_row), tile.rows(), whole.cols};
  }

  // Makes room for a block, of which nothing is computed yet.
  void begin_block(int index, const Rows& rows) {
    if (rows.piece_count == 0) throw UsageError("a chain computes rows that lie in sequences, these are independent");
    Workspace& work = workspace_of(index);
    const Index most = std::min(tile_rows_, rows.count), components = kernel_.shape().components();
    work.features_of = -1;
    work.features.reserve(most * feature_stride());
    work.row_values.reserve(most);
    work.logits.reserve(rows.count * components);
    if (mixed()) work.columns.reserve(rows.count * components);
    work.emissions.reserve(rows.count * states_);
    work.alpha.reserve((rows.count + 1) * states_);
    work.gamma.reserve(rows.count * states_);
    for (Memory<double>* values : {&work.offsets, &work.maxima, &work.scales, &work.objectives}) values->reserve(rows.count);
    work.piece_impossible.reserve(rows.piece_count);
  }

  // The family's coefficients come first, then the chain's.
  generic::ChainBlock<Real> block_of(int index, Rows& rows, int candidate) {
    Workspace& work = workspace_of(index);
    const Index K = states_, chain_at = this->coefficient_count() - K * (1 + 2 * K);
    auto& of = this->candidate(candidate);
    generic::ChainBlock<Real> block;
    block.states = K;
    block.mixtures = kernel_.shape().mixtures;
    block.start = of.rounded.data() + chain_at;
    block.transitions = block.start + K;
    block.transposed = block.transitions + K * K;
    block.exact_start = of.exact.data() + chain_at;
    block.exact_transitions = block.exact_start + K;
    block.pieces = rows.pieces.data();
    block.piece_count = rows.piece_count;
    block.messages = messages_.data() + candidate * messages_of_candidate_;
    block.logits = MatrixView<const Real>(work.logits.data(), rows.count, kernel_.shape().components());
    block.offsets = work.offsets.data();
    block.log_of_nothing = 0.1 * log_of_zero;
    block.emissions = MatrixView<Real>(work.emissions.data(), rows.count, K);
    block.columns = mixed() ? MatrixView<Real>(work.columns.data(), rows.count, kernel_.shape().components()) : block.emissions;
    block.maxima = work.maxima.data();
    block.alpha = MatrixView<Real>(work.alpha.data() + K, rows.count, K);
    block.gamma = MatrixView<Real>(work.gamma.data(), rows.count, K);
    block.scales = work.scales.data();
    block.impossible = work.piece_impossible.data();
    return block;
  }

  template <class Visit>
  void for_each_tile(Rows& rows, const Visit& visit) {
    for (Index first = 0; first < rows.count; first += tile_rows_) visit(Base::tile_of(rows, first, tile_rows_));
  }

  // Computed once where a block is one tile, whatever the number of candidates.
  MatrixView<const Real> features_of(int index, const Tile<Real>& tile) {
    Workspace& work = workspace_of(index);
    const MatrixView<Real> features(work.features.data(), tile.rows(), kernel_.feature_width(), feature_stride());
    if (work.features_of != tile.first_row) kernel_.features(this->compute_of(index), tile, features);
    work.features_of = tile.first_row;
    return features;
  }

  // What every state emits.
  void emit(int index, Rows& rows, const generic::ChainBlock<Real>& block, int candidate) {
    DeviceLane& lane = this->compute_of(index);
    Workspace& work = workspace_of(index);
    const MatrixView<Real> all(work.logits.data(), rows.count, kernel_.shape().components());
    for_each_tile(rows, [&](const Tile<Real>& tile) {
      const MatrixView<Real> logits = part(all, tile, rows);
      kernel_.emit(lane, tile, features_of(index, tile), coefficients_of(candidate), logits,
                   work.row_values.data(), work.offsets.data() + (tile.first_row - rows.first_row));
      if (tile.given.data) lane.for_each(tile.rows(), KeepKnown<Real>{tile.given, kernel_.shape().mixtures, logits});
    });
    lane.scale_emissions(block);
    if (mixed()) lane.for_each(rows.count, SumColumns<Real>{block.columns, block.emissions});
  }

  // Backward, too, which tells where probabilities are too far apart for Real.
  generic::ChainBlock<Real> recur(int index, Rows& rows, int candidate) {
    DeviceLane& lane = this->compute_of(index);
    const generic::ChainBlock<Real> block = block_of(index, rows, candidate);
    emit(index, rows, block, candidate);
    lane.chain_forward(block);
    lane.chain_backward(block);
    return block;
  }

  void add_rows(int index, Rows& rows) override {
    DeviceLane& lane = this->compute_of(index);
    Workspace& work = workspace_of(index);
    begin_block(index, rows);
    const double* const weights = rows.weighted ? rows.weights.data() : nullptr;
    for (std::size_t c = 0; c < this->running().size(); ++c) {
      const int candidate = this->running()[c];
      const generic::ChainBlock<Real> block = recur(index, rows, candidate);
      lane.chain_objective(block, weights, work.objectives.data(), this->objective_of(index, c));
      lane.for_each_group(generic::FirstImpossible{block.pieces, block.impossible, block.piece_count, weights,
                                                   rows.first_row, work.impossible.data() + candidate});
      double* const sums = this->statistics_of(index, c);
      lane.add_starts(block, weights, sums + starts_at_);
      if (weights) lane.for_each(rows.count, WeighRows<Real>{weights, nullptr, block.emissions});
      write_before(index, rows, block);
      lane.add_transitions(before_of(index, rows), MatrixView<const Real>(block.emissions), block.exact_transitions,
                           sums + transitions_at_);
      if (mixed()) lane.for_each(rows.count, ShareAmongColumns<Real>{block.gamma, block.columns});
      add_emissions(index, rows, coefficients_of(candidate), mixed() ? block.columns : block.gamma, sums);
    }
  }

  // What lies a row before each row: alpha, or what was given.
  MatrixView<const Real> before_of(int index, const Rows& rows) {
    return {workspace_of(index).alpha.data(), rows.count, states_};
  }
  void write_before(int index, const Rows& rows, const generic::ChainBlock<Real>& block) {
    Base::run(this->compute_of(index),
              generic::WriteBefore<Real>{block.pieces, rows.piece_count, block.messages, states_,
                                         workspace_of(index).alpha.data()});
  }

  FamilyCoefficients<Real> coefficients_of(int candidate) {
    auto& of = this->candidate(candidate);
    return {of.rounded.data(), of.exact.data(), of.about_means};
  }

  void add_emissions(int index, Rows& rows, const FamilyCoefficients<Real>& coefficients, MatrixView<Real> posterior, double* sums) {
    DeviceLane& lane = this->compute_of(index);
    for_each_tile(rows, [&](const Tile<Real>& tile) {
      const MatrixView<Real> weights = part(posterior, tile, rows);
      if (tile.weights || tile.missing)
        lane.for_each(tile.rows(), WeighRows<Real>{tile.weights, tile.missing, weights});
      kernel_.add_emissions(lane, tile, features_of(index, tile), coefficients, MatrixView<const Real>(weights),
                            workspace_of(index).row_values.data(), sums);
    });
  }

  // What follows each other in a sequence is laid out as the recursions would, so that it can count as a transition.
  void add_given_rows(int index, const HostBlock& host, Rows& rows) override {
    DeviceLane& lane = this->compute_of(index);
    Workspace& work = workspace_of(index);
    begin_block(index, rows);
    const double* const weights = rows.weighted ? rows.weights.data() : nullptr;
    for (std::size_t c = 0; c < this->running().size(); ++c) {
      const generic::ChainBlock<Real> block = block_of(index, rows, this->running()[c]);
      double* const sums = this->statistics_of(index, c);
      upload_given(lane, work, host, block.columns);
      lane.for_each(rows.count, SumColumns<Real>{block.columns, block.gamma});
      if (kernel_.shape().count_transitions) {
        Base::run(lane, generic::CopyValues<Real>{block.gamma.data, block.alpha.data, rows.count * states_});
        write_before(index, rows, block);
        lane.add_starts(block, weights, sums + starts_at_);
        if (weights) lane.for_each(rows.count, WeighRows<Real>{weights, nullptr, block.gamma});
        lane.add_transitions(before_of(index, rows), MatrixView<const Real>(block.gamma), nullptr, sums + transitions_at_);
      }
      add_emissions(index, rows, {}, block.columns, sums);
    }
  }

  // Posterior weights of components from what was given.
  void upload_given(DeviceLane& lane, Workspace& work, HostBlock host, MatrixView<Real> columns) {
    host.weights = nullptr;
    work.host_values.resize(static_cast<std::size_t>(host.rows * columns.cols));
    const MatrixView<Real> values(work.host_values.data(), host.rows, columns.cols);
    posterior_from_given(Base::given_tile(host, 0, host.rows), values);
    lane.upload(values.data, columns.data, host.rows * columns.cols);
  }

  void compose_rows(int index, Rows& rows, std::span<const std::int32_t> candidates, double* products) {
    DeviceLane& lane = this->compute_of(index);
    Workspace& work = workspace_of(index);
    begin_block(index, rows);
    const Index size = rows.piece_count * (states_ + 1) * states_;
    work.products.reserve(size);
    for (const int candidate : candidates) {
      const generic::ChainBlock<Real> block = block_of(index, rows, candidate);
      emit(index, rows, block, candidate);
      lane.clear(work.products.data(), size);
      lane.chain_compose(block, work.products.data());
      lane.download(work.products.data(), products, size);
      products += size;
    }
  }

  void evaluate_rows(int index, Rows& rows, const RowOutputs& outputs) override {
    DeviceLane& lane = this->compute_of(index);
    Workspace& work = workspace_of(index);
    begin_block(index, rows);
    work.objective.reserve(1);
    const bool posterior_wanted = outputs.labels || outputs.responsibilities;
    const generic::ChainBlock<Real> block = recur(index, rows, 0);
    lane.chain_objective(block, nullptr, work.objectives.data(), work.objective.data());
    if (outputs.objectives) lane.download(work.objectives.data(), outputs.objectives, rows.count);
    if (!posterior_wanted) return;
    const Index size = rows.count * states_;
    work.host_values.resize(static_cast<std::size_t>(size));
    const MatrixView<const Real> posterior(work.host_values.data(), rows.count, states_);
    lane.download((outputs.filtered ? block.alpha : block.gamma).data, work.host_values.data(), size);
    for (Index i = 0; outputs.labels && i < rows.count; ++i)
      outputs.labels[i] = static_cast<std::int32_t>(
          std::max_element(posterior.row(i), posterior.row(i) + states_) - posterior.row(i));
    if (outputs.responsibilities) std::copy_n(posterior.data, size, outputs.responsibilities);
  }

  const Kernel kernel_;
  Index states_, starts_at_, transitions_at_, tile_rows_;
  int candidates_;
  std::vector<Workspace> workspaces_;
  Memory<double> messages_;  // (candidates, pieces of cut sequences, 2, K)
  Index messages_of_candidate_ = 0;
};

}  // namespace tally
