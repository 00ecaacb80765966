#include "algorithms/cpu_backend.hpp"

#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "algorithms/em_exchange.hpp"
#include "algorithms/families/exponential_family.hpp"
#include "comm/agreement.hpp"
#include "comm/partition.hpp"
#include "comm/thread_world.hpp"
#include "core/memory_rows.hpp"
#include "core/philox.hpp"
#include "core/wrapped_rows.hpp"
#include "tests/unit/failing_rows.hpp"

namespace tally {
namespace {

// Log-densities that the test chooses: x = [log b_0, ..., log b_K-1] itself, by an identity of coefficients.
struct GivenDensities : ExponentialKernel {
  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    lane.linear_features(x, out);
  }
  Index feature_width() const { return width; }
};

// A chain of K states over log-densities drawn at random.
struct Problem {
  Index states = 3;
  std::vector<Index> lengths;
  std::vector<double> values, weights;
  std::vector<double> start, transitions;
  Layout statistics;

  Problem(Index K, std::vector<Index> of_sequences, bool weighted = false) : states(K), lengths(std::move(of_sequences)) {
    const RandomKey key{3, 1};
    const Index rows = std::accumulate(lengths.begin(), lengths.end(), Index{0});
    for (Index i = 0; i < rows * K; ++i) values.push_back(-4 * uniform(key, static_cast<std::uint64_t>(i), 0));
    const auto draw = [&](Index count, std::uint32_t which) {
      std::vector<double> row;
      for (Index k = 0; k < count; ++k) row.push_back(0.05 + uniform(key, static_cast<std::uint64_t>(k), which));
      const double sum = std::accumulate(row.begin(), row.end(), 0.0);
      for (double& value : row) value /= sum;
      return row;
    };
    start = draw(K, 1);
    for (Index i = 0; i < K; ++i) {
      const auto row = draw(K, static_cast<std::uint32_t>(2 + i));
      transitions.insert(transitions.end(), row.begin(), row.end());
    }
    for (std::size_t s = 0; weighted && s < lengths.size(); ++s)
      weights.insert(weights.end(), static_cast<std::size_t>(lengths[s]), s % 3 == 0 ? 0.5 : 2.0);
    statistics.add("moments", {K, 1 + K}).add("starts", {K}).add("transitions", {K, K});
  }
  Index rows() const { return static_cast<Index>(values.size()) / states; }
  MemoryRows in_memory() const { return MemoryRows(MatrixView<const double>(values.data(), rows(), states), "x"); }
  GivenDensities kernel() const { return {{states, 1 + states}}; }
  Coefficients coefficients() const {
    const Index K = states;
    return {K * (1 + K) + K + 2 * K * K, [this, K](std::span<const double>, std::span<double> out) {
              std::ranges::fill(out, 0.0);
              for (Index k = 0; k < K; ++k) out[static_cast<std::size_t>(k * (1 + K) + 1 + k)] = 1;
              auto at = out.begin() + K * (1 + K);
              at = std::ranges::copy(start, at).out;
              at = std::ranges::copy(transitions, at).out;
              for (Index j = 0; j < K; ++j)
                for (Index i = 0; i < K; ++i) *at++ = transitions[static_cast<std::size_t>(i * K + j)];
            }};
  }
};

// How the work is cut.
struct ChainCut {
  Index piece_steps = 1 << 20;
  Index block_rows = 1 << 20;
  int ranks = 1, lanes = 1;
  bool streamed = false;
};

// What one rank holds.
struct Part {
  IoExecutor io;
  MemoryRows weights;
  BlockPlan plan;
  BlockRange range;
  Shard::Options options;
  Shard shard;
  RankExchange exchange;
  std::unique_ptr<BoundModel> bound;

  Part(const Problem& problem, const RowSource& values, const ChainCut& cut, Communicator& world,
       Precision precision = Precision::double_precision)
      : weights(MatrixView<const double>(problem.weights.data(), problem.rows(), 1), "w"),
        plan(BlockPlan::of_sequences(std::make_shared<const Sequences>(Sequences::of_lengths(problem.lengths)),
                                     cut.piece_steps, cut.block_rows)),
        range(blocks_of_rank(plan, world.rank(), world.size())),
        options{cut.streamed ? 1 : 0, precision, cut.lanes, false},
        shard(io, Inputs{&values, problem.weights.empty() ? nullptr : &weights, nullptr}, plan,
              ShardRange{range.first, range.last}, options),
        exchange(shard, world) {
    shard.prepare({Standardisation::none(problem.states), nullptr}, [] {});
    BindOptions bind;
    bind.lanes = cut.lanes;
    bind.precision = precision;
    bound = CpuBackend::bind_chain({problem.states}, family_kernels<CpuLane>(problem.kernel()), problem.coefficients(),
                                   problem.statistics, bind);
    bound->prepare(0, {});
  }
};

struct Result {
  double objective = 0;
  std::vector<double> statistics;
  std::vector<double> responsibilities;  // (rows, K)
  std::vector<double> row_objectives;
  std::vector<std::int32_t> path;
  std::map<Index, double> log_probabilities;
};

template <class Real = double>
Result run(const Problem& problem, const ChainCut& cut) {
  Result result;
  const auto rows = static_cast<std::size_t>(problem.rows());
  result.responsibilities.resize(rows * static_cast<std::size_t>(problem.states));
  result.row_objectives.resize(rows);
  result.path.resize(rows);
  std::mutex mutex;
  run_in_threads(cut.ranks, [&](Communicator& world) {
    const MemoryRows values = problem.in_memory();
    constexpr bool single = std::is_same_v<Real, float>;
    Part part(problem, values, cut, world, single ? Precision::single_precision : Precision::double_precision);
    auto& [io, weights, plan, range, options, shard, exchange, bound] = part;
    const int first[] = {0};
    bound->exchange_messages(shard, first, PassKind::expectation, exchange, nullptr);
    Tally tally(1, problem.statistics, std::vector<Grid>(3, make_grid(1e6, 20)));
    exchange.locally([&] { bound->accumulate(shard, first, PassKind::expectation, tally, nullptr); });
    ASSERT_FALSE(exchange.failure()) << exchange.failure()->message;
    tally.carry();
    world.sum(tally.buffer());
    tally.carry();
    bound->exchange_messages(shard, first, PassKind::evaluation, exchange, nullptr);
    bound->evaluate(
        shard, {.labels = false, .objectives = true, .responsibilities = true},
        [&](Index row, Index count, const RowResults& results) {
          std::copy_n(results.responsibilities, count * problem.states, result.responsibilities.begin() + row * problem.states);
          std::copy_n(results.objectives, count, result.row_objectives.begin() + row);
        },
        nullptr);
    bound->decode(
        shard, exchange,
        [&](Index row, std::span<const std::int32_t> states, Index missing_rows) {
          std::ranges::copy(states, result.path.begin() + row);
          EXPECT_EQ(missing_rows, 0);
        },
        [&](Index sequence, double value) {
          const std::lock_guard lock(mutex);
          result.log_probabilities[sequence] = value;
        },
        nullptr);
    ASSERT_FALSE(exchange.failure()) << exchange.failure()->message;
    if (world.rank() != 0) return;
    result.objective = tally.objective(0);
    result.statistics.resize(static_cast<std::size_t>(problem.statistics.size()));
    tally.statistics(0, result.statistics);
  });
  return result;
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_NEAR(a[i], b[i], tolerance * std::max(1.0, std::abs(a[i]))) << "number " << i;
}

// The path of the only sequence and its log-probability.
std::pair<std::vector<std::int32_t>, double> decode(const Problem& problem, const ChainCut& cut, const RowSource& values) {
  std::vector<std::int32_t> path(static_cast<std::size_t>(problem.rows()));
  double log_probability = 0;
  run_in_threads(cut.ranks, [&](Communicator& world) {
    Part part(problem, values, cut, world);
    part.bound->decode(
        part.shard, part.exchange,
        [&](Index row, std::span<const std::int32_t> states, Index) { std::ranges::copy(states, path.begin() + row); },
        [&](Index, double value) { log_probability = value; }, nullptr);
    ASSERT_FALSE(part.exchange.failure()) << part.exchange.failure()->message;
  });
  return {path, log_probability};
}

// Viterbi's path in long double, each step's delta relative to the largest.
std::pair<std::vector<std::int32_t>, long double> decode_in_long_double(const Problem& problem) {
  const auto K = static_cast<std::size_t>(problem.states), T = static_cast<std::size_t>(problem.rows());
  std::vector<long double> delta(K), next(K);
  std::vector<std::int32_t> from(T * K), path(T);
  long double taken = 0;
  for (std::size_t t = 0; t < T; ++t) {
    for (std::size_t j = 0; j < K; ++j) {
      long double best = t == 0 ? std::log(static_cast<long double>(problem.start[j])) : -HUGE_VALL;
      for (std::size_t i = 0; i < K && t > 0; ++i) {
        const long double value = delta[i] + std::log(static_cast<long double>(problem.transitions[i * K + j]));
        if (value > best) from[t * K + j] = static_cast<std::int32_t>(i);
        best = std::max(best, value);
      }
      next[j] = best + static_cast<long double>(problem.values[t * K + j]);
    }
    const long double largest = std::ranges::max(next);
    for (std::size_t j = 0; j < K; ++j) delta[j] = next[j] - largest;
    taken += largest;
  }
  path[T - 1] = static_cast<std::int32_t>(std::ranges::max_element(delta) - delta.begin());
  for (std::size_t t = T - 1; t > 0; --t) path[t - 1] = from[t * K + static_cast<std::size_t>(path[t])];
  return {path, taken};
}

class ChainOfStates : public ::testing::TestWithParam<Index> {};

// Composed up to 16 states, in order beyond.
INSTANTIATE_TEST_SUITE_P(States, ChainOfStates, ::testing::Values(1, 2, 5, 16, 17, 24));

TEST_P(ChainOfStates, CutSequencesGiveWhatWholeOnesGive) {
  constexpr double rounding = 1e-11;  // of some hundred steps
  const Problem problem(GetParam(), {3, 1, 400, 7, 90, 1, 2}, true);
  const Result whole = run(problem, {});

  for (const Index steps : {1, 2, 13, 40}) {
    const Result cut = run(problem, {steps, 3 * steps});

    EXPECT_NEAR(cut.objective, whole.objective, rounding * std::abs(whole.objective));
    expect_near(cut.statistics, whole.statistics, rounding);
    expect_near(cut.responsibilities, whole.responsibilities, rounding);
    expect_near(cut.row_objectives, whole.row_objectives, rounding);
    EXPECT_EQ(cut.path, whole.path);
    for (const auto& [sequence, value] : whole.log_probabilities)
      EXPECT_NEAR(cut.log_probabilities.at(sequence), value, rounding * std::abs(value));
  }
}

TEST_P(ChainOfStates, RanksAndLanesDoNotMatter) {
  const Problem problem(GetParam(), {3, 300, 5, 5, 5, 5, 200, 64, 1});
  const Result expected = run(problem, {8, 16});

  for (const int ranks : {1, 2, 3, 4, 7})
    for (const int lanes : {1, 3})
      for (const bool streamed : {false, true}) {
        const Result result = run(problem, {8, 16, ranks, lanes, streamed});

        EXPECT_EQ(result.objective, expected.objective);
        EXPECT_EQ(result.statistics, expected.statistics) << ranks << " ranks, " << lanes << " lanes";
        EXPECT_EQ(result.responsibilities, expected.responsibilities);
        EXPECT_EQ(result.path, expected.path);
        EXPECT_EQ(result.log_probabilities, expected.log_probabilities);
      }
}

// State 0 is never left; all others, which explain every step far better, are never reached.
Problem imprisoned(Index states) {
  Problem problem(states, {40});
  for (Index i = 0; i < problem.rows(); ++i) problem.values[static_cast<std::size_t>(i * states)] -= 2000;
  std::ranges::fill(problem.start, 0.0);
  std::fill_n(problem.transitions.begin(), states, 0.0);
  problem.start.front() = problem.transitions.front() = 1;
  return problem;
}

TEST_P(ChainOfStates, UnlikelyStatesAreFoundWhereNoOtherCanBe) {
  const Problem problem = imprisoned(GetParam());
  double expected = 0;
  for (Index i = 0; i < problem.rows(); ++i) expected += problem.values[static_cast<std::size_t>(i * problem.states)];

  const Result result = run(problem, {});

  EXPECT_NEAR(result.objective, expected, 1e-12 * std::abs(expected));
  EXPECT_NEAR(result.statistics[0], 40, 1e-12) << "the count of state 0";
  EXPECT_EQ(result.path, std::vector<std::int32_t>(40, 0));
  EXPECT_NEAR(result.log_probabilities.at(0), expected, 1e-12 * std::abs(expected));
}

// What the recursions come to in logarithms of long doubles, over one sequence.
struct InLogarithms {
  long double objective = 0;
  std::vector<double> responsibilities, transitions;

  explicit InLogarithms(const Problem& problem) {
    const auto K = static_cast<std::size_t>(problem.states), T = static_cast<std::size_t>(problem.rows());
    const auto log_of = [](double value) { return std::log(static_cast<long double>(value)); };
    std::vector<long double> log_transitions;
    for (const double value : problem.transitions) log_transitions.push_back(log_of(value));
    const auto sum_of = [](const std::vector<long double>& logs) {
      const long double largest = std::ranges::max(logs);
      long double sum = 0;
      for (const long double value : logs) sum += largest == -HUGE_VALL ? 0 : std::exp(value - largest);
      return largest + std::log(sum);
    };
    std::vector<long double> alpha(T * K), beta(T * K, 0.0L), terms(K);
    for (std::size_t t = 0; t < T; ++t)
      for (std::size_t j = 0; j < K; ++j) {
        for (std::size_t i = 0; i < K && t > 0; ++i) terms[i] = alpha[(t - 1) * K + i] + log_transitions[i * K + j];
        alpha[t * K + j] = (t == 0 ? log_of(problem.start[j]) : sum_of(terms)) + static_cast<long double>(problem.values[t * K + j]);
      }
    for (std::size_t t = T - 1; t > 0; --t)
      for (std::size_t i = 0; i < K; ++i) {
        for (std::size_t j = 0; j < K; ++j)
          terms[j] = log_transitions[i * K + j] + static_cast<long double>(problem.values[t * K + j]) + beta[t * K + j];
        beta[(t - 1) * K + i] = sum_of(terms);
      }
    objective = sum_of(std::vector<long double>(alpha.end() - static_cast<std::ptrdiff_t>(K), alpha.end()));
    for (std::size_t e = 0; e < T * K; ++e)
      responsibilities.push_back(static_cast<double>(std::exp(alpha[e] + beta[e] - objective)));
    for (std::size_t i = 0; i < K; ++i)
      for (std::size_t j = 0; j < K; ++j) {
        long double sum = 0;
        for (std::size_t t = 1; t < T; ++t)
          sum += std::exp(alpha[(t - 1) * K + i] + log_transitions[i * K + j] +
                          static_cast<long double>(problem.values[t * K + j]) + beta[t * K + j] - objective);
        transitions.push_back(static_cast<double>(sum));
      }
  }
};

// A chain that forgets nothing: `left_right` goes from each state to the next for good, else states are never left. Steps
// speak for one state, so strongly that all others underflow, and in the end for another.
Problem unforgetting(Index states, bool left_right, double nats, Index turn) {
  Problem problem(states, {160});
  std::ranges::fill(problem.transitions, 0.0);
  for (Index i = 0; i < states; ++i) {
    const bool goes_on = left_right && i + 1 < states;
    problem.transitions[static_cast<std::size_t>(i * states + i)] = goes_on ? 0.75 : 1;
    if (goes_on) problem.transitions[static_cast<std::size_t>(i * states + i + 1)] = 0.25;
  }
  for (Index t = 0; t < problem.rows(); ++t)
    for (Index k = 0; k < states; ++k)
      problem.values[static_cast<std::size_t>(t * states + k)] -= k == (t < turn ? std::min<Index>(1, states - 1) : 0) ? 0 : nats;
  return problem;
}

template <class Real>
void expect_as_in_logarithms(const Problem& problem, const InLogarithms& expected, const ChainCut& cut, double tolerance) {
  const Result found = run<Real>(problem, cut);
  const auto K = static_cast<std::size_t>(problem.states), T = static_cast<std::size_t>(problem.rows());
  EXPECT_NEAR(found.objective, static_cast<double>(expected.objective), tolerance * std::abs(static_cast<double>(expected.objective)));
  expect_near(found.responsibilities, expected.responsibilities, tolerance);
  expect_near({found.statistics.end() - static_cast<std::ptrdiff_t>(K * K), found.statistics.end()}, expected.transitions,
              static_cast<double>(T) * tolerance);
}

// Lost on the way forward and on the way back: only both together speak for the state.
TEST_P(ChainOfStates, StatesThatAreLostInBothDirectionsAreKept) {
  const Index K = std::max<Index>(GetParam(), 2);
  Problem problem(K, {880});
  std::ranges::fill(problem.transitions, 0.0);
  for (Index i = 0; i < K; ++i) problem.transitions[static_cast<std::size_t>(i * K + i)] = 1;
  for (Index t = 0; t < problem.rows(); ++t)
    for (Index k = 0; k < K; ++k)
      problem.values[static_cast<std::size_t>(t * K + k)] -= k == (t >= 200 && t < 650 ? 1 : 0) ? 0.0 : 4.5;
  const InLogarithms expected(problem);
  for (const ChainCut& cut : {ChainCut{}, ChainCut{40, 80}, ChainCut{300, 600, 2, 2}}) {
    expect_as_in_logarithms<double>(problem, expected, cut, 1e-9);
    expect_as_in_logarithms<float>(problem, expected, cut, 1e-4);
  }
}

// Probabilities of random chains with zeros, of random evidence, against logarithms.
TEST_P(ChainOfStates, RandomChainsWithZerosAgreeWithLogarithms) {
  const Index K = GetParam();
  const RandomKey key{11, 4};
  for (std::uint64_t trial = 0; trial < 12; ++trial) {
    Problem problem(K, {120});
    const auto random = [&](Index i, std::uint32_t which) { return uniform(key, 1000 * trial + static_cast<std::uint64_t>(i), which); };
    for (Index i = 0; i < K * K; ++i)
      if (i % (K + 1) != 0 && random(i, 0) < 0.8) problem.transitions[static_cast<std::size_t>(i)] = 0;
    for (Index i = 0; i < K; ++i) {
      const auto row = std::span(problem.transitions).subspan(static_cast<std::size_t>(i * K), static_cast<std::size_t>(K));
      const double sum = std::accumulate(row.begin(), row.end(), 0.0);
      for (double& value : row) value /= sum;
    }
    const double strength = std::pow(10.0, 3 * random(0, 1));  // nats a step
    for (Index t = 0; t < problem.rows(); ++t)
      for (Index k = 0; k < K; ++k) problem.values[static_cast<std::size_t>(t * K + k)] = -strength * random(t / 9 * K + k, 2);
    SCOPED_TRACE(::testing::Message() << "trial " << trial << ", " << strength << " nats");
    const InLogarithms expected(problem);
    for (const ChainCut& cut : {ChainCut{}, ChainCut{17, 51}}) {
      expect_as_in_logarithms<double>(problem, expected, cut, 1e-9);
      expect_as_in_logarithms<float>(problem, expected, cut, 2e-4);
    }
  }
}

// Less than a float reaches, less than a double does, and far more in few steps.
TEST_P(ChainOfStates, StatesThatOnlyTheFutureSpeaksForAreKept) {
  for (const bool left_right : {false, true})
    for (const double nats : {1.0, 10.0, 20.0, 1000.0})
      for (const Index turn : {70, 79, 81, 100}) {
        SCOPED_TRACE(::testing::Message() << (left_right ? "left to right" : "never left") << ", " << nats << " nats a step, turn at " << turn);
        const Problem problem = unforgetting(GetParam(), left_right, nats, turn);
        const InLogarithms expected(problem);
        for (const ChainCut& cut : {ChainCut{}, ChainCut{40, 80}, ChainCut{7, 21, 2, 2}}) {
          expect_as_in_logarithms<double>(problem, expected, cut, 1e-10);
          expect_as_in_logarithms<float>(problem, expected, cut, 1e-4);
        }
      }
}

// A score alone must see it, too.
TEST_P(ChainOfStates, ObjectivesAloneKnowOfStatesThatWereLost) {
  const Problem problem = unforgetting(GetParam(), false, 20, 70);
  double sum = 0;
  run_in_threads(1, [&](Communicator& world) {
    const MemoryRows values = problem.in_memory();
    Part part(problem, values, {}, world);
    part.bound->evaluate(
        part.shard, {.labels = false, .objectives = true, .responsibilities = false},
        [&](Index, Index count, const RowResults& results) { sum = std::accumulate(results.objectives, results.objectives + count, 0.0); },
        nullptr);
  });
  const double expected = static_cast<double>(InLogarithms(problem).objective);
  EXPECT_NEAR(sum, expected, 1e-12 * std::abs(expected));
}

TEST_P(ChainOfStates, UnlikelyStatesAreFoundInCutSequences) {
  const Problem problem = imprisoned(GetParam());

  const Result whole = run(problem, {}), cut = run(problem, {4, 8, 3, 2});

  EXPECT_NEAR(cut.objective, whole.objective, 1e-12 * std::abs(whole.objective));
  expect_near(cut.statistics, whole.statistics, 1e-12);
}

TEST_P(ChainOfStates, SinglePrecisionIsClose) {
  const Problem problem(GetParam(), {30, 1, 200});
  const Result exact = run(problem, {16, 48});

  const Result single = run<float>(problem, {16, 48});

  constexpr double rounding = 1e-5;  // of some hundred steps in float
  EXPECT_NEAR(single.objective, exact.objective, rounding * std::abs(exact.objective));
  expect_near(single.statistics, exact.statistics, rounding * 10);
}

TEST_P(ChainOfStates, PathsOfLongSequencesKeepTheirDigits) {
  Problem problem(GetParam(), {300000 / GetParam()});
  for (double& value : problem.values) value -= 1000;
  const auto [path, log_probability] = decode_in_long_double(problem);

  constexpr Index piece_steps = 64;
  const auto found = decode(problem, {piece_steps, 128, 2}, problem.in_memory());

  EXPECT_EQ(found.first, path);
  constexpr double rounding = piece_steps * 0x1p-53;  // of the sum over a piece
  EXPECT_NEAR(found.second, static_cast<double>(log_probability), rounding * std::abs(found.second));
}

// Two states that are never left, equal but for one step at the very beginning.
TEST(ChainPaths, RememberTheFirstStepOfALongSequence) {
  Problem problem(2, {1 << 17});
  problem.start = {0.5, 0.5};
  problem.transitions = {1, 0, 0, 1};
  std::ranges::fill(problem.values, -1024.0);
  problem.values[1] += 1e-9;

  const auto [path, log_probability] = decode(problem, {64, 128}, problem.in_memory());

  EXPECT_EQ(path, std::vector<std::int32_t>(1 << 17, 1));
}

// Counts how often each row is read.
class CountedRows final : public WrappedRows {
 public:
  explicit CountedRows(const RowSource& rows) : WrappedRows(rows), counts(static_cast<std::size_t>(rows.rows()), 0) {}

  void read(Index first, Index count, double* out) const override {
    for (Index i = first; i < first + count; ++i) ++counts[static_cast<std::size_t>(i)];
    WrappedRows::read(first, count, out);
  }

  mutable std::vector<int> counts;
};

TEST_P(ChainOfStates, ARankThatFailsBetweenMessagesEndsAllWithItsError) {
  constexpr int ranks = 3;
  const Problem problem(GetParam(), {3, 300});
  const MemoryRows values = problem.in_memory();
  for (const Index broken : {10, 150, 302})
    for (const bool path : {false, true}) {
      const FailingRows rows(values, broken);
      std::atomic<int> refused = 0;
      run_in_threads(ranks, [&](Communicator& world) {
        Part part(problem, rows, {8, 16, ranks, 2, true}, world);
        const int first[] = {0};
        if (path)
          part.bound->decode(
              part.shard, part.exchange, [](Index, std::span<const std::int32_t>, Index) {}, [](Index, double) {}, nullptr);
        else
          part.bound->exchange_messages(part.shard, first, PassKind::expectation, part.exchange, nullptr);
        try {
          agree(world, [&] { part.exchange.rethrow(); });
        } catch (const DataError& error) {
          refused += std::string(error.what()).find("x row " + std::to_string(broken) + " cannot be read") != std::string::npos;
        }
      });

      EXPECT_EQ(refused, ranks);
    }
}

TEST(ChainPaths, ReadWholeSequencesOnceAndCutOnesThereAndBack) {
  const Problem problem(3, {30, 300, 20});
  const MemoryRows values = problem.in_memory();
  const CountedRows counted(values);
  std::vector<int> expected(350, 1);
  std::fill_n(expected.begin() + 30, 300, 2);

  decode(problem, {.piece_steps = 40, .block_rows = 40, .streamed = true}, counted);

  EXPECT_EQ(counted.counts, expected);
}

}  // namespace
}  // namespace tally
