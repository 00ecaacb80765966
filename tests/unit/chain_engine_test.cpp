#include "algorithms/chain_engine.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "algorithms/em_exchange.hpp"
#include "algorithms/families/categorical.hpp"
#include "algorithms/families/gaussian.hpp"
#include "algorithms/families/gaussian_kernels.hpp"
#include "algorithms/families/poisson.hpp"
#include "algorithms/lane_backend.hpp"
#include "algorithms/latent/chain.hpp"
#include "algorithms/pair_model.hpp"
#include "comm/partition.hpp"
#include "comm/thread_world.hpp"
#include "core/memory_rows.hpp"
#include "tests/unit/late_lane.hpp"

namespace tally {
namespace {

constexpr Index D = 2;

// A chain of a family, and what its states are like.
struct Chosen {
  Index states = 3, mixtures = 1;
  bool count_transitions = false;
  Index components() const { return states * mixtures; }
  Chain chain() const {
    ChainOptions options;
    options.mixtures = mixtures;
    options.count_transitions = count_transitions;
    return Chain(options, states);
  }
};
struct Diag {
  static GaussianFamily family(Index K) {
    GaussianOptions options;
    options.covariance = Covariance::diag;
    return {options, K, D};
  }
  static GaussianDiagKernel kernel(Index K) { return {{K, family(K).width()}}; }
};
struct Tied {
  static GaussianFamily family(Index K) {
    GaussianOptions options;
    options.covariance = Covariance::tied;
    return {options, K, D};
  }
  static GaussianTiedKernel kernel(Index K) { return {K, D}; }
};
struct Poisson {
  static PoissonFamily family(Index K) { return {K, D}; }
  static PoissonKernel kernel(Index K) { return {{K, 1 + D}}; }
};
struct Symbols {
  static constexpr Index symbols = 13;
  static CategoricalFamily family(Index K) { return {{symbols}, K, D}; }
  static CategoricalKernel kernel(Index K) { return {K, D, symbols}; }
};

// Counts, some rows missing, sequences that weigh 0, 1 or 2, and for every third row a state that is known.
struct Data {
  std::vector<Index> lengths{3, 1, 130, 7, 40, 1, 1, 55};
  std::vector<double> values, weights, known, labels;
  DataSummary summary;

  explicit Data(Index states, Index components) {
    std::mt19937_64 engine(9);
    std::poisson_distribution<int> low(2), high(7);
    for (std::size_t s = 0; s < lengths.size(); ++s)
      for (Index t = 0; t < lengths[s]; ++t) {
        const Index row = rows();
        const bool missing = row % 11 == 4;
        for (Index d = 0; d < D; ++d) {
          const int count = std::min(12, t / 9 % 2 == 0 ? low(engine) : high(engine));
          values.push_back(missing ? std::nan("") : count);
        }
        weights.push_back(static_cast<double>((s + 1) % 3));
        known.push_back(row % 3 == 0 ? static_cast<double>(row % states) : -1);
        labels.push_back(static_cast<double>((row / 2) % components));
      }
    summary.rows = rows();
    summary.columns = D;
    summary.mean.assign(D, 4);
    summary.minimum.assign(D, 0);
    summary.maximum.assign(D, 12);
    summary.variance.assign(D, 9);
    summary.total_weight = std::accumulate(weights.begin(), weights.end(), 0.0);
  }
  Index rows() const { return static_cast<Index>(values.size()) / D; }
};

// How the work is cut.
struct Way {
  Index piece_steps = 20, block_rows = 60;
  int ranks = 1, lanes = 1;
  bool keeps = true;
  LateDevice::Behind behind = LateDevice::Behind::copies;
};

struct Result {
  double objective = 0;
  std::vector<std::int64_t> impossible, non_finite;  // of each pass
  std::vector<double> statistics, given, smoothed, filtered, row_objectives;
  std::vector<std::int32_t> labels;

  friend bool operator==(const Result&, const Result&) = default;
};

// A first M-step from labels, two E-steps from there (the second with the rows that were kept) and results of rows.
class Runs {
 public:
  Runs(const Chosen& chosen, Precision precision, Way way)
      : data_(chosen.states, chosen.components()), states_(chosen.states), precision_(precision), way_(way) {}

  Result of(Model& model) {
    LateDevice::instance().choose(way_.behind);
    model.set_standardisation(Standardisation::none(D));
    Result result;
    const auto size = static_cast<std::size_t>(data_.rows() * states_);
    result.smoothed.resize(size);
    result.filtered.resize(size);
    result.row_objectives.resize(static_cast<std::size_t>(data_.rows()));
    result.labels.resize(result.row_objectives.size());
    run_in_threads(way_.ranks, [&](Communicator& world) { run(model, world, result); });
    return result;
  }

 private:
  void run(Model& model, Communicator& world, Result& result) {
    IoExecutor io;
    const auto column = [&](const std::vector<double>& values, const char* name) {
      return MemoryRows(MatrixView<const double>(values.data(), data_.rows(), 1), name);
    };
    const MemoryRows x(MatrixView<const double>(data_.values.data(), data_.rows(), D), "x");
    const MemoryRows weights = column(data_.weights, "w"), known = column(data_.known, "known"),
                     labels = column(data_.labels, "labels");
    const auto plan = BlockPlan::of_sequences(std::make_shared<const Sequences>(Sequences::of_lengths(data_.lengths)),
                                              way_.piece_steps, way_.block_rows);
    const BlockRange range = blocks_of_rank(plan, world.rank(), world.size());
    const auto shard_with = [&](const RowSource* given) {
      Shard::Options options;
      options.lanes = way_.lanes;
      options.precision = precision_;
      options.takes_missing = true;
      auto shard = std::make_unique<Shard>(io, Inputs{&x, &weights, given}, plan, ShardRange{range.first, range.last}, options);
      shard->prepare({model.standardisation(), model.log_base_measure()}, [] {});
      return shard;
    };
    BindOptions options{precision_, way_.lanes, 2};
    options.row_memory = way_.keeps ? 0 : 1;
    std::vector<double> start(static_cast<std::size_t>(model.parameters().size()));
    model.set_defaults(start);
    {
      const auto shard = shard_with(&labels);
      const auto bound = model.bind(options);
      const Tally tally = pass(model, *bound, *shard, world, PassKind::given, start, result);
      std::vector<double> statistics(static_cast<std::size_t>(model.statistics().size()));
      tally.statistics(1, statistics);
      model.maximize_start(statistics, data_.summary.total_weight, start);
      if (world.rank() == 0) result.given = statistics;
    }
    const auto shard = shard_with(&known);
    const auto bound = model.bind(options);
    pass(model, *bound, *shard, world, PassKind::expectation, start, result);
    const Tally tally = pass(model, *bound, *shard, world, PassKind::expectation, start, result);
    if (world.rank() == 0) {
      result.objective = tally.objective(1);
      result.statistics.resize(static_cast<std::size_t>(model.statistics().size()));
      tally.statistics(1, result.statistics);
    }
    evaluate(*bound, *shard_with(nullptr), world, result);
  }

  Tally pass(const Model& model, BoundModel& bound, Shard& shard, Communicator& world, PassKind kind,
             const std::vector<double>& start, Result& result) {
    std::vector<Grid> grids;
    for (const double most : model.bounds(data_.summary)) grids.push_back(make_grid(most * 2 * 300, 20));
    Tally tally(2, model.statistics(), grids);
    std::vector<double> other = start;
    for (double& value : std::span(other).subspan(static_cast<std::size_t>(states_ * (1 + states_)))) value *= 1.25;
    bound.prepare(0, other);
    bound.prepare(1, start);
    const int candidates[] = {0, 1};
    RankExchange exchange(shard, world);
    bound.exchange_messages(shard, candidates, kind, exchange, nullptr);
    exchange.locally([&] { bound.accumulate(shard, candidates, kind, tally, nullptr); });
    EXPECT_FALSE(exchange.failure()) << exchange.failure()->message;
    std::int64_t impossible = -bound.impossible_row(1);
    if (impossible > 0) impossible = -data_.rows();
    world.sum_and_max({}, std::span(&impossible, 1));
    tally.carry();
    world.sum(tally.buffer());
    tally.carry();
    EXPECT_EQ(tally.counter(Tally::rows), data_.rows());
    EXPECT_EQ(tally.counter(Tally::misfits), 0);
    if (world.rank() == 0) {
      result.impossible.push_back(-impossible);
      result.non_finite.push_back(tally.non_finite(1));
    }
    return tally;
  }

  void evaluate(BoundModel& bound, Shard& shard, Communicator& world, Result& result) {
    RankExchange exchange(shard, world);
    const int first[] = {0};
    bound.exchange_messages(shard, first, PassKind::evaluation, exchange, nullptr);
    for (const bool filtered : {false, true})
      bound.evaluate(
          shard, {.labels = true, .objectives = true, .responsibilities = true, .filtered = filtered},
          [&](Index row, Index count, const RowResults& rows) {
            std::copy_n(rows.responsibilities, count * states_,
                        (filtered ? result.filtered : result.smoothed).begin() + row * states_);
            std::copy_n(rows.objectives, count, result.row_objectives.begin() + row);
            if (!filtered) std::copy_n(rows.labels, count, result.labels.begin() + row);
            for (Index i = 0; i < count; ++i) EXPECT_EQ(rows.missing && rows.missing[i], (row + i) % 11 == 4);
          },
          nullptr);
  }

  const Data data_;
  Index states_;
  Precision precision_;
  Way way_;
};

template <class Case, class Backend>
Result run(const Chosen& chosen, Precision precision, const Way& way) {
  const Index K = chosen.components();
  PairModel model("hmm", chosen.chain(), Case::family(K), Case::kernel(K), {}, Backend{});
  return Runs(chosen, precision, way).of(model);
}

void expect_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_NEAR(a[i], b[i], tolerance * std::max(1.0, std::abs(b[i]))) << "element " << i;
}

// Sums of hundreds of rows in another order, products in another order, another exponential; in tf32 logits whose terms
// are off by 2^-10.
double tolerance_of(Precision precision) {
  return precision == Precision::double_precision ? 1e-11 : precision == Precision::single_precision ? 1e-3 : 0.1;
}

template <class Case>
class ChainEngines : public testing::Test {};
using Cases = testing::Types<Diag, Tied, Poisson, Symbols>;
TYPED_TEST_SUITE(ChainEngines, Cases);

TYPED_TEST(ChainEngines, AgreeWithTheCpu) {
  for (const Chosen chosen : {Chosen{3}, Chosen{2, 2}, Chosen{5, 1, true}, Chosen{20}})
    for (const Precision precision : {Precision::double_precision, Precision::single_precision, Precision::tf32}) {
      SCOPED_TRACE(name_of(precision) + std::string(", states ") + std::to_string(chosen.states));
      const double tolerance = tolerance_of(precision);

      const Result expected = run<TypeParam, CpuBackend>(chosen, precision, {});
      const Result found = run<TypeParam, LaneBackend<LateLane>>(chosen, precision, {});

      EXPECT_EQ(found.impossible, expected.impossible);
      EXPECT_EQ(found.non_finite, expected.non_finite);
      expect_close(found.given, expected.given, tolerance);
      expect_close(found.statistics, expected.statistics, tolerance);
      EXPECT_NEAR(found.objective, expected.objective, tolerance * std::abs(expected.objective));
      expect_close(found.smoothed, expected.smoothed, tolerance);
      expect_close(found.filtered, expected.filtered, tolerance);
      expect_close(found.row_objectives, expected.row_objectives, tolerance);
      if (precision == Precision::double_precision) {
        EXPECT_EQ(found.labels, expected.labels);
      }
    }
}

// Nor on what is late, on a device that needs every wait and every event.
TYPED_TEST(ChainEngines, DoNotDependOnRanksOnLanesOrOnRowsKept) {
  for (const Precision precision : {Precision::double_precision, Precision::single_precision}) {
    const Chosen chosen{3, 1, true};
    const Result expected = run<TypeParam, LaneBackend<GenericLane>>(chosen, precision, {});
    for (const auto behind : {LateDevice::Behind::copies, LateDevice::Behind::work})
      for (const int ranks : {1, 2, 5})
        for (const bool keeps : {true, false}) {
          const Result found =
              run<TypeParam, LaneBackend<LateLane>>(chosen, precision, {20, 60, ranks, ranks == 2 ? 3 : 1, keeps, behind});

          EXPECT_TRUE(found == expected) << ranks << " ranks, " << (keeps ? "kept" : "streamed");
        }
  }
}

TEST(ChainEngine, SequencesThatAreCutGiveWhatWholeOnesGive) {
  const Chosen chosen{4, 1, true};
  const Result whole = run<Diag, LaneBackend<GenericLane>>(chosen, Precision::double_precision, {1000, 1000});

  for (const Index steps : {1, 7, 50}) {
    const Result cut = run<Diag, LaneBackend<GenericLane>>(chosen, Precision::double_precision, {steps, 3 * steps});

    expect_close(cut.given, whole.given, 1e-12);
    expect_close(cut.statistics, whole.statistics, 1e-11);
    expect_close(cut.smoothed, whole.smoothed, 1e-11);
  }
}

TEST(ChainEngine, RefusesMoreStatesThanItTakes) {
  const Chosen chosen{generic::most_chain_states + 1};

  EXPECT_THROW((run<Poisson, LaneBackend<GenericLane>>(chosen, Precision::double_precision, {})), UsageError);
}

}  // namespace
}  // namespace tally
