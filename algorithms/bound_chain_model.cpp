#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "algorithms/cpu_backend.hpp"
#include "algorithms/chain_messages.hpp"
#include "algorithms/chain_order.hpp"
#include "algorithms/families/exponential_family.hpp"
#include "algorithms/latent/chain_kernel.hpp"
#include "algorithms/likeliest_paths.hpp"
#include "core/backends/chain_likelihood.hpp"
#include "core/log_product.hpp"
#include "core/tile_reader.hpp"
#include "core/wide_chain.hpp"

namespace tally {
namespace {

// Runs a chain kernel on CPU lanes: a block's emissions tile by tile, then the scaled recursions forward and backward
// over its pieces, then their statistics (Rabiner, A tutorial on hidden Markov models, 1989, with the scaling of Bishop,
// Pattern Recognition and Machine Learning, 2006, section 13.2.4). Memory is that of a block, however long a sequence.
template <class Real>
class BoundChainModel final : public BoundModel {
  using Kernel = ChainKernel<CpuLane, Real>;

 public:
  // `statistics` is the model's and must outlive this.
  BoundChainModel(Kernel kernel, Coefficients coefficients, const Layout& statistics, const BindOptions& options)
      : kernel_(std::move(kernel)),
        coefficients_(std::move(coefficients)),
        farthest_(farthest_from_centre<Real>(options)),
        statistics_(statistics),
        states_(kernel_.shape().states),
        starts_at_(statistics["starts"].offset),
        transitions_at_(statistics["transitions"].offset),
        candidates_(options.candidates),
        parameters_(static_cast<std::size_t>(options.candidates)),
        lanes_(static_cast<std::size_t>(options.lanes)) {
    for (Lane& lane : lanes_) {
      lane.features.resize(static_cast<std::size_t>(tile_rows * feature_stride()));
      lane.row_values.resize(static_cast<std::size_t>(tile_rows));
      lane.statistics.resize(static_cast<std::size_t>(statistics_.size()));
      lane.products.resize(static_cast<std::size_t>(states_ * states_));
      lane.transitions.resize(static_cast<std::size_t>(states_ * states_));
    }
  }

  void prepare(int candidate, std::span<const double> parameters) override {
    Parameters& to = parameters_[static_cast<std::size_t>(candidate)];
    to.exact.resize(static_cast<std::size_t>(coefficients_.count));
    to.about_means = coefficients_.compute_within(farthest_, parameters, std::span(to.exact));
    to.rounded.assign(to.exact.begin(), to.exact.end());
    to.mix = cpu::states_mix(weights_of(candidate));
  }

  void exchange_messages(Shard& shard, std::span<const int> candidates, PassKind kind, MessageExchange& exchange,
                         const Shard::Pulse& pulse) override {
    if (shard.plan().cut_piece_count() == 0) return;
    make_room_for_messages(shard.plan(), exchange, kind);
    exchange.locally([&] { begin(shard); });
    if (kind == PassKind::given) {
      if (counts_given(shard)) pass_given(shard, exchange, pulse);
    } else if (states_ <= most_composed_states) {
      compose(shard, candidates, exchange, pulse);
    } else {
      pass_in_order(shard, candidates, exchange, pulse);
      if (kind == PassKind::evaluation) {
        exchange.locally([&] { messages_.keep(local_pieces(shard)); });
        exchange.share(messages_.values());
      }
    }
  }

  void accumulate(Shard& shard, std::span<const int> candidates, PassKind kind, Tally& tally,
                  const Shard::Pulse& pulse) override {
    begin(shard);
    for (Lane& lane : lanes_) lane.begin(tally, candidates_);
    const bool follows = kind == PassKind::expectation || counts_given(shard);
    shard.for_each_block(
        [&](int index, const StoredBlock& block) {
          Lane& lane = lanes_[static_cast<std::size_t>(index)];
          const std::vector<Piece> pieces = shard.plan().pieces_of(block.number);
          for (const int c : candidates) {
            std::fill(lane.statistics.begin(), lane.statistics.end(), 0.0);
            double objective = 0;
            if (kind == PassKind::given) {
              take_given(lane, block, shard.given_columns(), pieces);
            } else {
              recur(lane, block, shard.given_columns(), pieces, c, true);
              objective = objective_of(lane, block, pieces, c);
            }
            if (follows) add_chain(lane, block, pieces, kind == PassKind::expectation ? transitions_of(c) : nullptr);
            add_emissions(lane, block, kind, c);
            lane.tally->add_block(c, objective, lane.statistics);
          }
          lane.tally->add_rows(block.rows);
        },
        pulse);
    for (Lane& lane : lanes_) tally.merge(*lane.tally);
  }

  Index impossible_row(int candidate) const override {
    Index first = -1;
    for (const Lane& lane : lanes_) {
      const Index row = lane.impossible[static_cast<std::size_t>(candidate)];
      if (row >= 0 && (first < 0 || row < first)) first = row;
    }
    return first;
  }

  void evaluate(Shard& shard, Wanted wanted, const VisitRows& visit, const Shard::Pulse& pulse) override {
    begin(shard);
    for (Lane& lane : lanes_) lane.impossible.assign(static_cast<std::size_t>(candidates_), -1);
    const bool smoothed = !wanted.filtered && (wanted.labels || wanted.responsibilities);
    const bool stepwise = wanted.filtered || wanted.stepwise;
    shard.for_each_block(
        [&](int index, const StoredBlock& block) {
          Lane& lane = lanes_[static_cast<std::size_t>(index)];
          recur(lane, block, 0, shard.plan().pieces_of(block.number), 0, smoothed, stepwise);
          report(lane, block, wanted, visit);
        },
        pulse);
  }

  void decode(Shard& shard, MessageExchange& exchange, const VisitPath& visit_path,
              const VisitProbability& visit_probability, const Shard::Pulse& pulse) override {
    std::optional<LikeliestPaths<Real>> paths;
    const auto make_room = [&] {
      begin(shard);
      paths.emplace(shard, exchange.cuts(), states_, start_of(0), transitions_of(0),
                    [&](int index, const StoredBlock& block) { return log_emit(lanes_[static_cast<std::size_t>(index)], block); });
    };
    if (shard.plan().cut_piece_count() > 0)
      exchange.agree(make_room);
    else
      exchange.locally(make_room);
    if (paths) paths->find(exchange, visit_path, visit_probability, pulse);
  }

  Index memory_bytes() const noexcept override {
    Index bytes = 0;
    for (const Lane& lane : lanes_) bytes += lane.bytes() + kernel_.workspace_bytes();
    return bytes;
  }

 private:
  struct Parameters {
    std::vector<double> exact;
    std::vector<Real> rounded;
    std::vector<Index> about_means;  // components whose coefficients are
    bool mix = false;                // cpu::states_mix
  };
  struct Lane {
    CpuLane compute;
    std::optional<TileReader<Real>> reader;
    std::optional<Tally> tally;
    std::vector<Real> features, row_values;              // of a tile
    std::vector<Real> columns, emissions, alpha, gamma;  // of a block; alpha has a row before the first
    std::vector<double> offsets, maxima, scales;         // of a block's rows
    std::vector<cpu::ChainPiece> pieces;
    std::vector<double> statistics, products, scratch;
    // For pieces that are beyond the range of Real.
    std::unique_ptr<bool[]> kept;     // of each piece: whether its recursion forward lost no state
    std::size_t kept_room = 0;
    std::vector<Index> beyond;        // their numbers
    bool has_logs = false;            // of the emissions at hand
    std::vector<Real> logits;         // (rows, components) of a block
    std::vector<double> logs;         // (rows, K)
    WideChain wide;
    std::vector<Wide> sums;           // (K)
    std::vector<double> wide_rows;    // of a piece
    std::vector<double> transitions;  // (K, K), their expected number
    std::vector<Index> impossible;  // the first row, by candidate; -1: none
    std::vector<double> row_objectives, row_weights;
    std::vector<std::int32_t> row_labels;

    void begin(const Tally& like, int candidates) {
      tally = like;
      tally->reset();
      impossible.assign(static_cast<std::size_t>(candidates), -1);
    }
    Index bytes() const {
      return wide.bytes() +
             static_cast<Index>((features.size() + row_values.size() + columns.size() + emissions.size() + alpha.size() +
                                 gamma.size() + logits.size()) *
                                    sizeof(Real) +
                                (offsets.size() + maxima.size() + scales.size() + statistics.size() + products.size() +
                                 transitions.size() + logs.size() + wide_rows.size()) *
                                    sizeof(double));
    }
  };

  Index feature_stride() const { return (kernel_.feature_width() + 7) / 8 * 8; }
  bool counts_given(const Shard& shard) const { return kernel_.shape().count_transitions && shard.plan().sequences(); }
  bool mixed() const { return kernel_.shape().mixtures > 1; }

  // Once, all ranks together: where one had no memory between messages, the others would wait for it.
  void make_room_for_messages(const BlockPlan& plan, MessageExchange& exchange, PassKind kind) {
    const bool composes = states_ <= most_composed_states, given = kind == PassKind::given;
    const bool has_room = messages_.piece_count() == plan.cut_piece_count() &&
                          (given || (composes ? products_.has_value() : order_ && order_->cuts() == exchange.cuts()));
    if (!has_room)
      exchange.agree([&] {
        messages_ = ChainMessages(plan, states_, candidates_);
        if (given) return;
        if (composes)
          products_.emplace(plan, states_, candidates_);
        else
          order_.emplace(plan, exchange.cuts(), messages_);
      });
    messages_.clear();
    if (products_) products_->clear();
  }

  // No more than that, as `resize` alone may take.
  template <class Values>
  static void make_room(Values& values, Index count) {
    if (count <= static_cast<Index>(values.size())) return;
    values.reserve(static_cast<std::size_t>(count));
    values.resize(static_cast<std::size_t>(count));
  }

  // Makes room for the longest block.
  void begin(const Shard& shard) {
    const Index rows = shard.plan().most_rows();
    for (Lane& lane : lanes_) {
      lane.reader.emplace(*shard.preparation(), tile_rows);
      if (mixed()) make_room(lane.columns, rows * kernel_.shape().components());
      make_room(lane.emissions, rows * states_);
      make_room(lane.alpha, (rows + 1) * states_);
      make_room(lane.gamma, rows * states_);
      make_room(lane.offsets, rows);
      make_room(lane.maxima, rows);
      make_room(lane.scales, rows);
    }
  }

  MatrixView<Real> emissions_of(Lane& lane, Index rows) const { return {lane.emissions.data(), rows, states_}; }
  MatrixView<Real> columns_of(Lane& lane, Index rows) const {
    return {mixed() ? lane.columns.data() : lane.emissions.data(), rows, kernel_.shape().components()};
  }
  MatrixView<Real> alpha_of(Lane& lane, Index rows) const { return {lane.alpha.data() + states_, rows, states_}; }
  MatrixView<Real> gamma_of(Lane& lane, Index rows) const { return {lane.gamma.data(), rows, states_}; }
  static MatrixView<Real> part(MatrixView<Real> whole, Index first, Index rows) {
    return {whole.row(first), rows, whole.cols};
  }

  // The family's coefficients come first, then the chain's.
  cpu::ChainWeights<Real> weights_of(int candidate) const {
    const std::vector<Real>& rounded = parameters_[static_cast<std::size_t>(candidate)].rounded;
    const Real* const start = rounded.data() + coefficients_.count - states_ * (1 + 2 * states_);
    return {states_, start, start + states_, start + states_ + states_ * states_};
  }
  const double* start_of(int candidate) const {
    const std::vector<double>& exact = parameters_[static_cast<std::size_t>(candidate)].exact;
    return exact.data() + coefficients_.count - states_ * (1 + 2 * states_);
  }
  bool mixes(int candidate) const { return parameters_[static_cast<std::size_t>(candidate)].mix; }
  const double* transitions_of(int candidate) const { return start_of(candidate) + states_; }

  FamilyCoefficients<Real> coefficients_of(int candidate) const {
    const Parameters& of = parameters_[static_cast<std::size_t>(candidate)];
    return {of.rounded.data(), of.exact.data(), of.about_means};
  }

  // Log-densities of the family's components (rows, components) and what belongs to a row whatever its state, tile by
  // tile; `then` gets a tile's part of them and its first row.
  template <class Then>
  void emit_logits(Lane& lane, const StoredBlock& block, Index known_columns, int candidate, MatrixView<Real> all,
                   const Then& then) {
    const FamilyCoefficients<Real> coefficients = coefficients_of(candidate);
    lane.reader->for_each_tile(block, known_columns, [&](const Tile<Real>& tile) {
      const Index first = tile.first_row - block.first_row;
      const MatrixView<Real> logits = part(all, first, tile.rows());
      kernel_.emit(lane.compute, tile, features_of(lane, tile), coefficients, logits, lane.row_values.data(),
                   lane.offsets.data() + first);
      if (known_columns == 1) {
        check_known(tile.given, tile.first_row, states_);
        lane.compute.for_each(tile.rows(), KeepKnown<Real>{tile.given, kernel_.shape().mixtures, logits});
      }
      then(logits, first);
    });
  }

  // What every state emits, relative to the likeliest of a row, whose logarithm is in `maxima`.
  void emit(Lane& lane, const StoredBlock& block, Index known_columns, int candidate) {
    lane.has_logs = false;
    emit_logits(lane, block, known_columns, candidate, columns_of(lane, block.rows),
                [&](MatrixView<Real> logits, Index first) {
                  double* const maxima = lane.maxima.data() + first;
                  lane.compute.scale_emissions(logits, maxima);
                  for (Index i = 0; i < logits.rows; ++i) {
                    maxima[i] = log_likelihood_of(maxima[i]) + lane.offsets[static_cast<std::size_t>(first + i)];
                    if (std::isinf(maxima[i])) std::fill_n(logits.row(i), logits.cols, Real{0});
                  }
                  if (mixed())
                    lane.compute.for_each(
                        logits.rows, SumColumns<Real>{logits, part(emissions_of(lane, block.rows), first, logits.rows)});
                });
  }

  MatrixView<const Real> features_of(Lane& lane, const Tile<Real>& tile) {
    const MatrixView<Real> features(lane.features.data(), tile.rows(), kernel_.feature_width(), feature_stride());
    kernel_.features(lane.compute, tile, features);
    return features;
  }

  void set_pieces(Lane& lane, const std::vector<Piece>& pieces, int candidate) const {
    lane.pieces.clear();
    for (const Piece& piece : pieces)
      lane.pieces.push_back({piece.first, piece.steps, messages_.incoming(candidate, piece),
                             messages_.outgoing(candidate, piece)});
  }

  // Emissions, then the recursions over the block's pieces; `backward` asks for gamma and expected transitions, `stepwise` for
  // what each step says by itself.
  void recur(Lane& lane, const StoredBlock& block, Index known_columns, const std::vector<Piece>& pieces, int candidate,
             bool backward, bool stepwise = false) {
    if (pieces.empty()) throw UsageError("a chain computes rows that lie in sequences, these are independent");
    emit(lane, block, known_columns, candidate);
    set_pieces(lane, pieces, candidate);
    const double* const before = lane.pieces.front().incoming;
    for (Index k = 0; k < states_; ++k)
      lane.alpha[static_cast<std::size_t>(k)] = before ? static_cast<Real>(linear_of_message(before[k])) : Real{0};
    const bool possible = go_forward(lane, block.rows, candidate);
    const auto keeps = [&](Index piece) { return mixes(candidate) || lane.kept[static_cast<std::size_t>(piece)]; };
    std::vector<Index> lost;
    for (Index piece = 0; piece < static_cast<Index>(lane.pieces.size()); ++piece)
      if (!keeps(piece)) lost.push_back(piece);
    if (!backward && possible && lost.empty()) return;
    lane.beyond.clear();
    if (backward || !stepwise || lost.empty()) go_backward(lane, block, known_columns, candidate);
    if (!stepwise) return;
    // What follows tells where states got lost; to a step that came before they may matter all the same.
    std::erase_if(lost, [&](Index piece) { return std::ranges::binary_search(lane.beyond, piece); });
    lane.beyond = std::move(lost);
    recur_in_wide(lane, block, known_columns, candidate);
  }

  // Whether all steps are possible.
  bool go_forward(Lane& lane, Index rows, int candidate) {
    const MatrixView<const Real> emissions = emissions_of(lane, rows);
    if (lane.kept_room < lane.pieces.size()) {
      lane.kept_room = lane.pieces.size();
      lane.kept = std::make_unique<bool[]>(lane.kept_room);
    }
    return lane.compute.chain_forward(weights_of(candidate), lane.pieces, emissions, alpha_of(lane, rows),
                                      lane.scales.data(), lane.kept.get()) < 0;
  }

  void go_backward(Lane& lane, const StoredBlock& block, Index known_columns, int candidate) {
    std::fill(lane.transitions.begin(), lane.transitions.end(), 0.0);
    lane.compute.chain_backward(weights_of(candidate), lane.pieces, emissions_of(lane, block.rows),
                                MatrixView<const Real>(alpha_of(lane, block.rows)), lane.scales.data(),
                                gamma_of(lane, block.rows), lane.beyond);
    for (std::size_t p = 0; p < lane.pieces.size(); ++p)
      if (loses_incoming(lane, block.rows, lane.pieces[p], candidate)) lane.beyond.push_back(static_cast<Index>(p));
    std::sort(lane.beyond.begin(), lane.beyond.end());
    recur_in_wide(lane, block, known_columns, candidate);
  }

  // The pieces that are beyond the range of Real, in numbers of any size.
  void recur_in_wide(Lane& lane, const StoredBlock& block, Index known_columns, int candidate) {
    for (const Index p : lane.beyond)
      recur_in_wide(lane, block, known_columns, lane.pieces[static_cast<std::size_t>(p)], candidate);
  }

  // Whether what follows speaks strongly for a state that has no place in the message as this precision has it.
  bool loses_incoming(Lane& lane, Index rows, const cpu::ChainPiece& piece, int candidate) const {
    if (!piece.incoming || piece.steps == 0) return false;
    const MatrixView<Real> w = emissions_of(lane, rows);
    constexpr double negligible = sizeof(Real) == 4 ? 0x1p-40 : 0x1p-60;
    for (Index i = 0; i < states_; ++i) {
      if (piece.incoming[i] == 0 ||
          static_cast<Real>(linear_of_message(piece.incoming[i])) >= std::numeric_limits<Real>::min())
        continue;
      const double beta = beta_before(i, w.row(piece.first), candidate);
      if (Wide(negligible) < from_message(piece.incoming[i]) * Wide(beta)) return true;
    }
    return false;
  }

  // What a step of this w, and those after it, say of a state before it: a row of A w.
  double beta_before(Index state, const Real* w, int candidate) const {
    const double* const transitions = transitions_of(candidate) + state * states_;
    double sum = 0;
    for (Index j = 0; j < states_; ++j) sum += transitions[j] * static_cast<double>(w[j]);
    return sum;
  }

  // Log-densities of the states of a block's rows, -inf where a state cannot emit them.
  void emit_logs(Lane& lane, const StoredBlock& block, Index known_columns, int candidate) {
    if (lane.has_logs) return;
    lane.has_logs = true;
    make_room(lane.logits, block.rows * kernel_.shape().components());
    make_room(lane.logs, block.rows * states_);
    emit_logits(lane, block, known_columns, candidate, {lane.logits.data(), block.rows, kernel_.shape().components()},
                [&](MatrixView<Real> logits, Index first) {
                  to_log_likelihoods(logits);
                  lane.compute.for_each(logits.rows,
                                        LogSumColumns<Real, double>{logits, logs_of(lane, first, logits.rows)});
                });
  }
  MatrixView<double> logs_of(Lane& lane, Index first, Index steps) const {
    return {lane.logs.data() + first * states_, steps, states_};
  }
  static void to_log_likelihoods(MatrixView<Real> logits) {
    for (Index i = 0; i < logits.rows; ++i)
      for (Index k = 0; k < logits.cols; ++k)
        logits(i, k) = static_cast<Real>(log_likelihood_of(static_cast<double>(logits(i, k))));
  }

  // A piece in numbers of any size, all that the block needs of it.
  void recur_in_wide(Lane& lane, const StoredBlock& block, Index known_columns, const cpu::ChainPiece& piece,
                     int candidate) {
    begin_wide(lane, block, known_columns, piece.first, piece.steps, candidate);
    make_room(lane.wide_rows, piece.steps * (states_ + 1));
    double* const log_scales = lane.wide_rows.data();
    const MatrixView<double> gamma(log_scales + piece.steps, piece.steps, states_);
    const Index impossible = lane.wide.forward(piece.incoming, log_scales);
    const bool possible = impossible < 0;
    if (possible)
      lane.wide.backward(piece.outgoing, gamma, block.weights ? block.weights[piece.first] : 1, lane.transitions);
    for (Index t = 0; t < piece.steps; ++t) {
      const Index row = piece.first + t;
      for (Index k = 0; k < states_; ++k) {
        alpha_of(lane, block.rows)(row, k) = static_cast<Real>(possible ? lane.wide.alpha(t)[static_cast<std::size_t>(k)].value() : 0);
        gamma_of(lane, block.rows)(row, k) = static_cast<Real>(possible ? gamma(t, k) : 0);
        emissions_of(lane, block.rows)(row, k) = 0;
      }
      const bool known = possible || t < impossible;
      lane.scales[static_cast<std::size_t>(row)] = known ? 1 : 0;
      if (known) lane.maxima[static_cast<std::size_t>(row)] = log_scales[t] + lane.offsets[static_cast<std::size_t>(row)];
      if (mixed() && known) share_in_logs(lane, block.rows, row);
    }
  }

  // The columns of a row, relative to the likeliest of their state.
  void share_in_logs(Lane& lane, Index rows, Index row) const {
    const Index M = kernel_.shape().mixtures;
    const MatrixView<Real> columns = columns_of(lane, rows);
    for (Index k = 0; k < states_; ++k) {
      const Real* const logits = lane.logits.data() + row * kernel_.shape().components() + k * M;
      const Real largest = *std::max_element(logits, logits + M);
      for (Index m = 0; m < M; ++m)
        columns(row, k * M + m) = log_likelihood_of(static_cast<double>(largest)) > -std::numeric_limits<double>::infinity()
                                      ? std::exp(logits[m] - largest)
                                      : Real{0};
    }
  }

  // The log-likelihood of a block's pieces, each given what came before it.
  double objective_of(Lane& lane, const StoredBlock& block, const std::vector<Piece>& pieces, int candidate) const {
    double objective = 0;
    for (const Piece& piece : pieces) {
      const double weight = block.weights ? block.weights[piece.first] : 1;
      if (weight == 0) continue;
      LogProduct scales;
      double maxima = 0;
      for (Index i = piece.first; i < piece.first + piece.steps; ++i) {
        const double scale = lane.scales[static_cast<std::size_t>(i)];
        if (!(scale > 0)) note_impossible(lane, block.first_row + i, candidate);
        scales.multiply(scale);
        maxima += lane.maxima[static_cast<std::size_t>(i)];
      }
      objective += weight * (scales.log() + maxima);
    }
    return objective;
  }

  static void note_impossible(Lane& lane, Index row, int candidate) {
    Index& first = lane.impossible[static_cast<std::size_t>(candidate)];
    if (first < 0 || row < first) first = row;
  }

  // Posterior weights from what was given: of components in the place of columns, of states in gamma. What follows each
  // other in a sequence is laid out as the recursions would, so that it can count as a transition.
  void take_given(Lane& lane, const StoredBlock& block, Index given_columns, const std::vector<Piece>& pieces) {
    const MatrixView<Real> columns = columns_of(lane, block.rows), gamma = gamma_of(lane, block.rows);
    StoredBlock unweighted = block;
    unweighted.weights = nullptr;
    lane.reader->for_each_tile(unweighted, given_columns, [&](const Tile<Real>& tile) {
      posterior_from_given(tile, part(columns, tile.first_row - block.first_row, tile.rows()));
    });
    lane.compute.for_each(block.rows, SumColumns<Real>{columns, gamma});
    const MatrixView<Real> alpha = alpha_of(lane, block.rows);
    std::copy_n(gamma.data, block.rows * states_, alpha.data);
    for (const Piece& piece : pieces) {
      const double* const before = messages_.incoming(0, piece);
      if (piece.first == 0)
        for (Index k = 0; k < states_; ++k)
          lane.alpha[static_cast<std::size_t>(k)] = before ? static_cast<Real>(before[k]) : Real{0};
      // No transition leads into the first step: nothing comes before it.
      if (piece.begins && piece.first > 0) std::fill_n(alpha.row(piece.first - 1), states_, Real{0});
    }
  }

  // Starts and expected transitions; `transitions` are the chain's, null where labels were given.
  void add_chain(Lane& lane, const StoredBlock& block, const std::vector<Piece>& pieces, const double* transitions) {
    const MatrixView<Real> gamma = gamma_of(lane, block.rows);
    for (const Piece& piece : pieces)
      for (Index k = 0; k < states_ && piece.begins; ++k)
        lane.statistics[static_cast<std::size_t>(starts_at_ + k)] +=
            (block.weights ? block.weights[piece.first] : 1) * static_cast<double>(gamma(piece.first, k));
    add_transitions(lane, block, transitions);
  }

  void add_emissions(Lane& lane, const StoredBlock& block, PassKind kind, int candidate) {
    const bool given = kind == PassKind::given;
    const MatrixView<Real> posterior = given ? columns_of(lane, block.rows) : posterior_of(lane, block.rows);
    const FamilyCoefficients<Real> coefficients = given ? FamilyCoefficients<Real>() : coefficients_of(candidate);
    lane.reader->for_each_tile(block, 0, [&](const Tile<Real>& tile) {
      const MatrixView<Real> weights = part(posterior, tile.first_row - block.first_row, tile.rows());
      if (tile.weights || tile.missing)
        lane.compute.for_each(tile.rows(), WeighRows<Real>{tile.weights, tile.missing, weights});
      kernel_.add_emissions(lane.compute, tile, features_of(lane, tile), coefficients, MatrixView<const Real>(weights),
                            lane.row_values.data(), lane.statistics.data());
    });
  }

  // Posterior weights of the family's components.
  MatrixView<Real> posterior_of(Lane& lane, Index rows) const {
    const MatrixView<Real> gamma = gamma_of(lane, rows);
    if (!mixed()) return gamma;
    const MatrixView<Real> columns = columns_of(lane, rows);
    lane.compute.for_each(rows, ShareAmongColumns<Real>{gamma, columns});
    return columns;
  }

  // Expected transitions: A_ij sum_t alpha_t-1(i) w_t(j), or of what was given sum_t gamma_t-1(i) gamma_t(j), in chunks that
  // the lane may sum in single precision.
  void add_transitions(Lane& lane, const StoredBlock& block, const double* transitions) {
    const MatrixView<Real> after = transitions ? emissions_of(lane, block.rows) : gamma_of(lane, block.rows);
    if (block.weights) lane.compute.for_each(block.rows, WeighRows<Real>{block.weights, nullptr, after});
    std::fill(lane.products.begin(), lane.products.end(), 0.0);
    const MatrixView<double> products(lane.products.data(), states_, states_);
    for (Index first = 0; first < block.rows; first += tile_rows) {
      const Index rows = std::min(tile_rows, block.rows - first);
      lane.compute.add_multiply_tn(MatrixView<const Real>(lane.alpha.data() + first * states_, rows, states_),
                                   MatrixView<const Real>(part(after, first, rows)), products);
    }
    double* const sums = lane.statistics.data() + transitions_at_;
    for (Index i = 0; i < states_ * states_; ++i) {
      const double product = lane.products[static_cast<std::size_t>(i)];
      if (!transitions)
        sums[i] += product;
      else if (transitions[i] > 0)
        sums[i] += transitions[i] * product + lane.transitions[static_cast<std::size_t>(i)];
    }
  }

  // Calls work(lane, block, pieces) for the blocks that hold pieces of cut sequences.
  template <class Work>
  void for_each_cut_block(Shard& shard, MessageExchange& exchange, const Shard::Pulse& pulse, const Work& work) {
    exchange.locally([&] {
      shard.for_each_block(
          cut_blocks(shard),
          [&](int index, const StoredBlock& block) {
            work(lanes_[static_cast<std::size_t>(index)], block, shard.plan().pieces_of(block.number));
          },
          pulse);
    });
  }

  // Messages by composition: what each piece does to any message, all pieces at once, brought to all ranks.
  void compose(Shard& shard, std::span<const int> candidates, MessageExchange& exchange, const Shard::Pulse& pulse) {
    for_each_cut_block(shard, exchange, pulse, [&](Lane& lane, const StoredBlock& block, const std::vector<Piece>& pieces) {
      for (const int c : candidates) {
        emit(lane, block, shard.given_columns(), c);
        for (const Piece& piece : pieces) compose(lane, block, shard.given_columns(), piece, c, products_->at(c, piece.number));
      }
    });
    exchange.share(products_->values());
    exchange.locally([&] { products_->scan(candidates, cut_pieces(shard.plan()), messages_); });
  }

  void compose(Lane& lane, const StoredBlock& block, Index known_columns, const Piece& piece, int candidate,
               ChainProducts::Place place) {
    const auto row_of = [&](Index state) {
      return std::span(place.vectors + state * states_, static_cast<std::size_t>(states_));
    };
    if (piece.begins) {
      carry(lane, block, known_columns, piece, candidate, nullptr, row_of(0));
      return;
    }
    const MatrixView<const Real> emissions = part(emissions_of(lane, block.rows), piece.first, piece.steps);
    lane.compute.chain_compose(weights_of(candidate), emissions, MatrixView<double>(place.vectors, states_, states_),
                               place.log_scales);
    const auto impossible = [&](double log_scale) { return std::isinf(log_scale); };
    if (std::none_of(place.log_scales, place.log_scales + states_, impossible)) return;
    begin_wide(lane, block, known_columns, piece.first, piece.steps, candidate);
    for (Index i = 0; i < states_; ++i) {
      if (!impossible(place.log_scales[i])) continue;
      lane.scratch.assign(static_cast<std::size_t>(states_), 0.0);
      lane.scratch[static_cast<std::size_t>(i)] = 1;
      place.log_scales[i] = carry_in_wide(lane, piece, lane.scratch.data(), row_of(i));
    }
  }

  // The message after a piece, forward.
  void carry(Lane& lane, const StoredBlock& block, Index known_columns, const Piece& piece, int candidate,
             const double* incoming, std::span<double> out) {
    lane.pieces.assign(1, {piece.first, piece.steps, incoming, nullptr});
    if (go_forward(lane, block.rows, candidate) && (mixes(candidate) || lane.kept[0])) {
      std::copy_n(alpha_of(lane, block.rows).row(piece.first + piece.steps - 1), states_, out.begin());
      return;
    }
    begin_wide(lane, block, known_columns, piece.first, piece.steps, candidate);
    carry_in_wide(lane, piece, incoming, out);
  }

  void begin_wide(Lane& lane, const StoredBlock& block, Index known_columns, Index first, Index steps, int candidate) {
    emit_logs(lane, block, known_columns, candidate);
    lane.wide.set_chain(states_, start_of(candidate), transitions_of(candidate));
    lane.wide.set_piece(logs_of(lane, first, steps));
  }

  // The same in numbers of any size, after begin_wide. The logarithm of the probability of the steps, relative to lane.maxima; -inf and a
  // message of zeros where they are impossible.
  double carry_in_wide(Lane& lane, const Piece& piece, const double* incoming, std::span<double> out) {
    make_room(lane.wide_rows, piece.steps);
    std::ranges::fill(out, 0.0);
    if (lane.wide.forward(incoming, lane.wide_rows.data()) >= 0)
      return -std::numeric_limits<double>::infinity();
    write_message(lane.wide.alpha(piece.steps - 1), out);
    double elsewhere = 0;  // maxima are of columns, where those are more than one a state
    for (Index t = 0; t < piece.steps; ++t) {
      const auto row = static_cast<std::size_t>(piece.first + t);
      elsewhere += lane.wide.likeliest(t) + lane.offsets[row] - lane.maxima[row];
    }
    return lane.wide.probability().log() + elsewhere;
  }

  // Messages one after the other. A backward message is what the recursion would hand on within a piece, which knows
  // the states that can be there; where states mix, all can.
  void pass_in_order(Shard& shard, std::span<const int> candidates, MessageExchange& exchange,
                     const Shard::Pulse& pulse) {
    const auto with_pieces = [&](int index, const StoredBlock& block, bool reversed, const auto& work) {
      Lane& lane = lanes_[static_cast<std::size_t>(index)];
      std::vector<Piece> pieces = shard.plan().pieces_of(block.number);
      if (reversed) std::reverse(pieces.begin(), pieces.end());
      for (const int c : candidates) {
        emit(lane, block, shard.given_columns(), c);
        for (const Piece& piece : pieces) work(lane, piece, c);
      }
    };
    order_->run(
        shard, exchange, candidates,
        [&](int index, const StoredBlock& block, const ChainOrder::Step& step) {
          with_pieces(index, block, false, [&](Lane& lane, const Piece& piece, int c) {
            const double* const incoming = step.message(c, piece);
            const auto next = step.next(c, piece);
            if (!next.empty()) carry(lane, block, shard.given_columns(), piece, c, incoming, next);
            step.hand_on(c, piece);
          });
        },
        nullptr, pulse);
    order_->run(
        shard, exchange, candidates, nullptr,
        [&](int index, const StoredBlock& block, const ChainOrder::Step& step) {
          with_pieces(index, block, true, [&](Lane& lane, const Piece& piece, int c) {
            const auto next = step.next(c, piece);
            const bool alone = mixes(c);
            if (!next.empty() && !alone) {
              lane.pieces.assign(1, {piece.first, piece.steps, messages_.incoming(c, piece), nullptr});
              go_forward(lane, block.rows, c);
            }
            const double* const outgoing = step.message(c, piece);
            if (!next.empty() && alone) hand_back_alone(lane, block, piece, c, outgoing, next);
            if (!next.empty() && !alone) hand_back(lane, block, shard.given_columns(), piece, c, outgoing, next);
            step.hand_on(c, piece);
          });
        },
        pulse);
  }

  // The backward message before a piece, which takes no forward recursion.
  void hand_back_alone(Lane& lane, const StoredBlock& block, const Piece& piece, int candidate, const double* outgoing,
                       std::span<double> before) {
    const MatrixView<Real> emissions = part(emissions_of(lane, block.rows), piece.first, piece.steps);
    const MatrixView<Real> first = part(gamma_of(lane, block.rows), piece.first, 1);
    if (cpu::chain_likelihood(weights_of(candidate), MatrixView<const Real>(emissions), outgoing, first.data))
      write_message_before(lane, first.data, candidate, before);
    else
      std::ranges::fill(before, 0.0);
  }

  // A w as a message.
  void write_message_before(Lane& lane, const Real* w, int candidate, std::span<double> before) const {
    lane.sums.clear();
    for (Index i = 0; i < states_; ++i) lane.sums.emplace_back(beta_before(i, w, candidate));
    write_message(lane.sums, before);
  }

  // The backward message before lane's piece, whose forward recursion is done: A w of its first step.
  void hand_back(Lane& lane, const StoredBlock& block, Index known_columns, const Piece& piece, int candidate,
                 const double* outgoing, std::span<double> before) {
    lane.pieces.front().outgoing = outgoing;
    go_backward(lane, block, known_columns, candidate);
    if (!lane.beyond.empty()) {
      const bool possible = lane.scales[static_cast<std::size_t>(piece.first + piece.steps - 1)] > 0;
      if (possible) write_message(lane.wide.before(), before);
      else std::ranges::fill(before, 0.0);
      return;
    }
    write_message_before(lane, emissions_of(lane, block.rows).row(piece.first), candidate, before);
  }

  // What was given for the last step of each piece that goes on.
  void pass_given(Shard& shard, MessageExchange& exchange, const Shard::Pulse& pulse) {
    for_each_cut_block(shard, exchange, pulse, [&](Lane& lane, const StoredBlock& block, const std::vector<Piece>& pieces) {
      take_given(lane, block, shard.given_columns(), {});
      for (const Piece& piece : pieces)
        if (!piece.ends)
          std::copy_n(gamma_of(lane, block.rows).row(piece.first + piece.steps - 1), states_,
                      messages_.incoming(0, piece.number + 1).begin());
    });
    exchange.share(messages_.values());
  }

  // Log-densities of the states in the place of emissions, and what is the same for all states of a row in `offsets`.
  typename LikeliestPaths<Real>::Emissions log_emit(Lane& lane, const StoredBlock& block) {
    emit_logits(lane, block, 0, 0, columns_of(lane, block.rows), [&](MatrixView<Real> logits, Index first) {
      to_log_likelihoods(logits);
      if (mixed())
        lane.compute.for_each(logits.rows,
                              LogSumColumns<Real>{logits, part(emissions_of(lane, block.rows), first, logits.rows)});
    });
    return {emissions_of(lane, block.rows), lane.offsets.data()};
  }

  // The numbers of the first piece of this rank and of what follows its last.
  static std::pair<Index, Index> local_pieces(const Shard& shard) {
    const std::vector<Index> blocks = cut_blocks(shard);
    if (blocks.empty()) return {0, 0};
    const BlockPlan& plan = shard.plan();
    return {plan.pieces_of(shard.first_block() + blocks.front()).front().number,
            plan.pieces_of(shard.first_block() + blocks.back()).back().number + 1};
  }

  void report(Lane& lane, const StoredBlock& block, Wanted wanted, const VisitRows& visit) {
    const auto rows = static_cast<std::size_t>(block.rows);
    lane.row_objectives.resize(rows);
    for (std::size_t i = 0; i < rows; ++i) {
      lane.row_objectives[i] = std::log(lane.scales[i]) + lane.maxima[i];
      if (!(lane.scales[i] > 0)) note_impossible(lane, block.first_row + static_cast<Index>(i), 0);
    }
    const MatrixView<Real> posterior = wanted.filtered ? alpha_of(lane, block.rows) : gamma_of(lane, block.rows);
    if (wanted.labels) {
      lane.row_labels.resize(rows);
      for (Index i = 0; i < block.rows; ++i)
        lane.row_labels[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(
            std::max_element(posterior.row(i), posterior.row(i) + states_) - posterior.row(i));
    }
    if (wanted.responsibilities) lane.row_weights.assign(posterior.data, posterior.data + block.rows * states_);
    visit(block.first_row, block.rows,
          {wanted.labels ? lane.row_labels.data() : nullptr, lane.row_objectives.data(),
           wanted.responsibilities ? lane.row_weights.data() : nullptr, block.missing});
  }

  const Kernel kernel_;
  const Coefficients coefficients_;
  const double farthest_;
  const Layout& statistics_;
  Index states_, starts_at_, transitions_at_;
  int candidates_;
  std::vector<Parameters> parameters_;
  std::vector<Lane> lanes_;
  ChainMessages messages_;
  std::optional<ChainProducts> products_;  // where messages are composed
  std::optional<ChainOrder> order_;        // where they are handed on
};

}  // namespace

std::unique_ptr<BoundModel> CpuBackend::bind_chain(const ChainShape& shape, const FamilyKernels<CpuLane>& kernels,
                                                   const Coefficients& coefficients, const Layout& statistics,
                                                   const BindOptions& options) {
  if (in_float(options.precision))
    return std::make_unique<BoundChainModel<float>>(ChainKernel(shape, kernels.in_float), coefficients, statistics, options);
  return std::make_unique<BoundChainModel<double>>(ChainKernel(shape, kernels.in_double), coefficients, statistics, options);
}

}  // namespace tally
