#include "tests/unit/conformance.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "algorithms/em_exchange.hpp"
#include "algorithms/latent/chain_shape.hpp"
#include "algorithms/models/kmeans.hpp"
#include "algorithms/models/poisson.hpp"
#include "algorithms/tolerances.hpp"
#include "comm/agreement.hpp"
#include "comm/single_process.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr Index block_rows = 64;
constexpr Index many_rows = 51 * block_rows + 17;  // 52 blocks, the last one ragged

const Registry& builtin_models() {
  static const Registry all = [] {
    Registry registry;
    add_builtin_models(registry);
    return registry;
  }();
  return all;
}

ModelCase registered(const std::string& model, const OptionValues& options, Precision precision) {
  std::string name = model;
  std::replace(name.begin(), name.end(), '-', '_');
  if (const auto found = options.find("covariance"); found != options.end()) name += "_" + found->second;
  if (options.contains("missing")) name += "_missing";
  name += "_" + name_of(precision);
  const auto make = builtin_models().find(model).make;
  return {name, [make, options](Index K, Index D) { return make(K, D, options); }, precision};
}

// The same on sequences that are cut into many pieces.
ModelCase of_cut_sequences(const std::string& messages, ModelCase model_case) {
  model_case.name += "_cut_" + messages;
  model_case.steps = 700;
  return model_case;
}

// `reg-covar` 0: then the likelihood itself is what rises.
std::vector<ModelCase> all_cases() {
  std::vector<ModelCase> cases;
  for (const Precision precision : {Precision::double_precision, Precision::single_precision, Precision::tf32}) {
    for (const char* covariance : {"full", "tied", "diag", "spherical"})
      cases.push_back(registered("gmm", {{"covariance", covariance}, {"reg-covar", "0"}}, precision));
    for (const char* covariance : {"full", "diag"})
      if (precision != Precision::tf32)
        cases.push_back(registered("gmm", {{"covariance", covariance}, {"reg-covar", "0"}, {"missing", "nan"}}, precision));
    cases.push_back(registered("kmeans", {}, precision));
    cases.push_back(registered("poisson", {}, precision));
    if (precision == Precision::double_precision) cases.push_back(registered("poisson", {{"missing", "nan"}}, precision));
    cases.push_back(registered("bernoulli", {}, precision));
    cases.push_back(registered("categorical", {{"symbols", "5"}}, precision));
    cases.push_back(registered("exponential", {}, precision));
    cases.push_back(registered("gamma", {}, precision));
    cases.push_back(registered("binomial", {{"trials", "12"}}, precision));
    cases.push_back(registered("multinomial", {}, precision));
    cases.push_back(registered("von-mises-fisher", {}, precision));
    for (const std::string covariance : {"full", "diag", "spherical"})
      cases.push_back(registered("student-t", {{"covariance", covariance}, {"reg-covar", "0"}}, precision));
    cases.push_back(registered("hmm", {{"emission", "gaussian"}, {"covariance", "diag"}, {"reg-covar", "0"}}, precision));
    cases.push_back(of_cut_sequences("composed", cases.back()));
    cases.push_back(of_cut_sequences("in_order", registered("hmm", {{"emission", "poisson"}}, precision)));
    cases.back().components = most_composed_states + 1;
  }
  return cases;
}

Domain domain_of(const ModelCase& model_case) { return model_case.make(1, 3)->domain(); }

// Three clusters in three columns of different scales; counts or symbols where the model takes those.
Table planted(const ModelCase& model_case, Index rows) {
  const RandomKey key{11, 1};
  const Domain domain = domain_of(model_case);
  Table table{3, {}, {}, model_case.steps};
  for (Index i = 0; i < rows; ++i) {
    const auto row = static_cast<std::uint64_t>(i);
    const auto cluster = static_cast<double>(below(key, row, 0, 3));
    for (std::uint32_t d = 0; d < 3; ++d) {
      const double location = 1 + cluster * (d == 0 ? 4.0 : 1.5);
      double value = (location + normal(key, row, 1 + d) * 0.8) * std::pow(7.0, d);
      if (domain.whole) value = static_cast<double>(poisson(key, row, 1 + d * poisson_draws, location));
      if (domain.bounded()) value = std::fmod(value, domain.largest + 1);
      if (domain == Domain::not_negative) value = -std::log(uniform(key, row, 1 + d)) * location * std::pow(7.0, d);
      if (domain == Domain::positive) value = std::exp(0.3 * (location + normal(key, row, 1 + d))) * std::pow(7.0, d);
      if (domain.unit_length) value = std::cos(2 * cluster + 2 * d) + 0.4 * normal(key, row, 1 + d);
      if (domain.takes_nan() && below(key, row, 0x50000000 + d, 5) == 0) value = std::numeric_limits<double>::quiet_NaN();
      table.values.push_back(value);
    }
    double* const x = table.values.data() + 3 * i;
    if (domain.unit_length)
      for (const double length = std::hypot(x[0], x[1], x[2]); double& value : std::span(x, 3)) value /= length;
  }
  return table;
}

std::vector<double> numbers_of(const NamedArrays& arrays) {
  std::vector<double> numbers;
  for (const auto& [name, array] : arrays) numbers.insert(numbers.end(), array.values.begin(), array.values.end());
  return numbers;
}

void expect_close(const NamedArrays& a, const NamedArrays& b, double tolerance) {
  const std::vector<double> left = numbers_of(a), right = numbers_of(b);
  ASSERT_EQ(left.size(), right.size());
  for (std::size_t i = 0; i < left.size(); ++i)
    EXPECT_NEAR(left[i], right[i], tolerance * std::max(1.0, std::abs(left[i]))) << "number " << i;
}

double rounding_of(const ModelCase& model_case) { return tolerances_of(model_case.precision).parameters; }

bool is_cut(const ModelCase& model_case) { return model_case.steps > block_rows; }

// Sums of an E-step that bring messages from piece to piece, where no sequence lies on more than two ranks.
int message_sums(const ModelCase& model_case, int ranks) {
  if (!is_cut(model_case)) return 0;
  if (model_case.components <= most_composed_states) return 1;
  return ranks > 1 ? 2 : 0;
}

class Conformance : public ::testing::TestWithParam<ModelCase> {};

INSTANTIATE_TEST_SUITE_P(Models, Conformance, ::testing::ValuesIn(all_cases()),
                         [](const auto& tested) { return tested.param.name; });

TEST_P(Conformance, SameBitsOnAnyRanksThreadsAndMemory) {
  const Table table = planted(GetParam(), many_rows);
  const auto expected = bits_of(fit_in_world(GetParam(), table, {1, 1, false}, {}).state);

  for (const int ranks : {1, 2, 3, 4})
    for (const int threads : {1, 2})
      for (const bool streamed : {false, true})
        EXPECT_EQ(bits_of(fit_in_world(GetParam(), table, {ranks, threads, streamed}, {}).state), expected)
            << ranks << " ranks, " << threads << " threads, " << (streamed ? "streamed" : "resident");
}

TEST_P(Conformance, Tf32OnTheCpuIsSingle) {
  const Table table = planted(GetParam(), 2 * block_rows + 5);
  ModelCase single = GetParam(), tf32 = GetParam();
  single.precision = Precision::single_precision;
  tf32.precision = Precision::tf32;

  EXPECT_EQ(bits_of(fit_in_world(tf32, table, {1, 1, false}, {}).state),
            bits_of(fit_in_world(single, table, {1, 1, false}, {}).state));
}

TEST_P(Conformance, RanksWithoutRowsDoNotMatter) {
  const Table table = planted(GetParam(), 2 * block_rows + 5);
  const auto expected = bits_of(fit_in_world(GetParam(), table, {1, 2, false}, {}).state);

  for (const bool streamed : {false, true})
    EXPECT_EQ(bits_of(fit_in_world(GetParam(), table, {5, 2, streamed}, {}).state), expected);
}

TEST_P(Conformance, RestartsShareOnePassWithoutTouchingEachOther) {
  const Table table = planted(GetParam(), many_rows);
  FitPlan plan;
  plan.restarts = 3;

  const Fitted together = fit_in_world(GetParam(), table, {2, 2, false}, plan);

  for (int r = 0; r < 3; ++r) {
    plan.restarts = 1;
    plan.first_restart = r;
    const Fitted alone = fit_in_world(GetParam(), table, {2, 2, false}, plan);
    FitState of_r = together.state;
    of_r.candidates = {together.state.candidates[static_cast<std::size_t>(r)]};
    EXPECT_EQ(bits_of(of_r), bits_of(alone.state)) << "restart " << r;
    EXPECT_EQ(together.sums, alone.sums);
  }
}

TEST_P(Conformance, ResumingLosesNoBit) {
  const Table table = planted(GetParam(), many_rows);
  FitPlan plan;
  plan.restarts = 2;
  const Fitted whole = fit_in_world(GetParam(), table, {2, 1, false}, plan);

  FitPlan first = plan, second = plan;
  first.stop_after = 3;
  const Fitted stopped = fit_in_world(GetParam(), table, {3, 1, false}, first);
  second.from = stopped.state;
  const Fitted resumed = fit_in_world(GetParam(), table, {1, 2, true}, second);

  EXPECT_TRUE(stopped.outcome.stopped);
  EXPECT_EQ(stopped.state.iteration, 3);
  EXPECT_EQ(bits_of(resumed.state), bits_of(whole.state));
}

TEST_P(Conformance, ObjectiveNeverFalls) {
  FitPlan plan;
  plan.options.max_iterations = 15;
  const double slack = tolerances_of(GetParam().precision).objective;

  const Fitted fitted = fit_in_world(GetParam(), planted(GetParam(), many_rows), {2, 1, false}, plan);

  const auto& trace = fitted.best().trace;
  const double sign = GetParam().make(1, 3)->larger_is_better() ? 1 : -1;
  ASSERT_GE(trace.size(), 3u);
  for (std::size_t i = 1; i < trace.size(); ++i)
    EXPECT_GE(sign * (trace[i] - trace[i - 1]), -slack * std::abs(trace[i])) << "iteration " << i;
  EXPECT_GT(sign * (trace.back() - trace.front()), 0);
}

TEST_P(Conformance, TheTraceHasOneEntryMoreThanMSteps) {
  const Fitted fitted = fit_in_world(GetParam(), planted(GetParam(), many_rows), {1, 1, false}, {});

  EXPECT_EQ(fitted.best().m_steps, 6);
  EXPECT_EQ(fitted.best().trace.size(), 7u);
  EXPECT_EQ(fitted.best().reason, StopReason::iteration_limit);
}

TEST_P(Conformance, IntegerWeightsEqualCopies) {
  Table weighted = planted(GetParam(), 300);
  weighted.steps = 1;
  Table copied{weighted.columns, {}, {}, 1};
  for (Index i = 0; i < weighted.rows(); ++i) {
    const int copies = 1 + static_cast<int>(i % 3);
    weighted.weights.push_back(copies);
    for (int c = 0; c < copies; ++c)
      copied.values.insert(copied.values.end(), weighted.matrix().row(i), weighted.matrix().row(i) + weighted.columns);
  }
  // Both from the same rows.
  FitPlan plan;
  plan.from = FitState{};
  plan.from->candidates.resize(1);
  plan.alter = [&](int, FitState& state, DataSummary& summary) {
    const Index K = GetParam().components;
    const auto model = GetParam().make(K, 3);
    model->set_standardisation(standardise_for(model->scaling(), summary));
    state.candidates[0].parameters.resize(static_cast<std::size_t>(model->parameters().size()));
    std::vector<double> rows(weighted.values.begin(), weighted.values.begin() + K * 3);
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (std::isnan(rows[i])) rows[i] = summary.mean[i % 3];
    model->start_at(MatrixView<const double>(rows.data(), K, 3), summary, state.candidates[0].parameters);
  };

  const Fitted of_weights = fit_in_world(GetParam(), weighted, {2, 1, false}, plan);
  const Fitted of_copies = fit_in_world(GetParam(), copied, {3, 1, false}, plan);

  expect_close(of_weights.described, of_copies.described, rounding_of(GetParam()));
  EXPECT_NEAR(of_weights.best().trace.back(), of_copies.best().trace.back(),
              rounding_of(GetParam()) * std::abs(of_copies.best().trace.back()));
}

TEST_P(Conformance, RowsOfWeightZeroDoNotMatterWhateverTheyHold) {
  Table modest = planted(GetParam(), many_rows);
  modest.weights.assign(static_cast<std::size_t>(many_rows), 1.0);
  modest.steps = 1;
  const Domain domain = domain_of(GetParam());
  Table enormous = modest;
  for (Index i = 0; i < many_rows; i += 7) {
    modest.weights[static_cast<std::size_t>(i)] = enormous.weights[static_cast<std::size_t>(i)] = 0;
    for (Index d = 0; d < 3; ++d)
      enormous.values[static_cast<std::size_t>(i * 3 + d)] =
          domain.unit_length ? d == i % 3 : std::min(i % 2 ? 1e300 : 1e308, domain.largest);
  }

  const auto expected = bits_of(fit_in_world(GetParam(), modest, {1, 1, false}, {}).state);

  for (const bool streamed : {false, true})
    EXPECT_EQ(bits_of(fit_in_world(GetParam(), enormous, {2, 2, streamed}, {}).state), expected);
}

TEST_P(Conformance, ATooSmallBoundRepeatsThePassAndChangesNothingElse) {
  const Table table = planted(GetParam(), many_rows);
  const Fitted honest = fit_in_world(GetParam(), table, {2, 1, false}, {});
  FitPlan plan;
  plan.alter = [](int, FitState&, DataSummary& summary) { summary.largest_weight = std::ldexp(1.0, -40); };

  const Fitted widened = fit_in_world(GetParam(), table, {2, 1, false}, plan);
  const Fitted elsewhere = fit_in_world(GetParam(), table, {3, 2, true}, plan);

  // One repeat at least, each announced by one maximum; the scan's is the first.
  EXPECT_GE(widened.sums_and_maxima, 2);
  EXPECT_EQ(honest.sums_and_maxima, 1);
  EXPECT_EQ(widened.sums - honest.sums,
            (widened.sums_and_maxima - honest.sums_and_maxima) * (1 + message_sums(GetParam(), 2)));
  EXPECT_EQ(bits_of(widened.state), bits_of(elsewhere.state));
  // The grid that the values themselves ask for is as fine as the bound's or finer.
  for (std::size_t f = 0; f < honest.state.exponents.size(); ++f)
    EXPECT_LE(widened.state.exponents[f], honest.state.exponents[f]);
  expect_close(honest.described, widened.described, 1e-12);
}

TEST_P(Conformance, ResumingKeepsTheGridsOfARepeatedPass) {
  const Table table = planted(GetParam(), many_rows);
  FitPlan plan;
  plan.alter = [](int, FitState&, DataSummary& summary) { summary.largest_weight = std::ldexp(1.0, -40); };
  const Fitted whole = fit_in_world(GetParam(), table, {2, 1, false}, plan);

  FitPlan first = plan, second = plan;
  first.stop_after = 3;
  const Fitted stopped = fit_in_world(GetParam(), table, {3, 1, false}, first);
  second.from = stopped.state;
  const Fitted resumed = fit_in_world(GetParam(), table, {1, 1, false}, second);

  EXPECT_EQ(bits_of(resumed.state), bits_of(whole.state));
  // No pass is repeated that was repeated before; both parts have a scan.
  EXPECT_EQ(stopped.sums_and_maxima + resumed.sums_and_maxima, whole.sums_and_maxima + 1);
}

TEST_P(Conformance, EveryIterationTakesOneSum) {
  FitPlan plan;
  plan.restarts = 3;
  for (const int ranks : {1, 3}) {
    const Fitted fitted = fit_in_world(GetParam(), planted(GetParam(), many_rows), {ranks, 1, false}, plan);

    // Six M-steps and the closing E-step; where sequences are cut, where each rank's blocks begin and whether all have memory
    // for the messages.
    EXPECT_EQ(fitted.sums, (6 + 1) * (1 + message_sums(GetParam(), ranks)) + (is_cut(GetParam()) ? 2 : 0));
    EXPECT_EQ(fitted.sums_and_maxima, 1);   // the scan
    EXPECT_EQ(fitted.other_collectives, 0);
  }
}

TEST_P(Conformance, AReadErrorOnOneRankEndsAllWithTheSameError) {
  const Table table = planted(GetParam(), many_rows);
  FitPlan plan;
  plan.unreadable_on_rank = 1;
  plan.bad_row = many_rows / 2;
  plan.reads_allowed = 0;  // in the scan

  for (const bool streamed : {false, true}) {
    for (const RankError& error : errors_of_ranks(GetParam(), table, {3, 2, streamed}, plan)) {
      EXPECT_EQ(error.kind, ErrorKind::data);
      EXPECT_THAT(error.message, HasSubstr("x row 1640 cannot be read"));
    }
    plan.reads_allowed = 3;  // streaming: in the third iteration; what is resident is not read again
  }
}

TEST_P(Conformance, RowResultsAddUpToTheObjectiveOnAnyThreads) {
  const Table table = planted(GetParam(), many_rows);
  const Index K = GetParam().components;
  const auto model = GetParam().make(K, 3);
  struct Results {
    std::vector<std::int32_t> labels;
    std::vector<double> objectives, responsibilities;
  };
  const auto evaluate = [&](int threads, bool streamed) {
    Results all{std::vector<std::int32_t>(many_rows), std::vector<double>(many_rows),
                std::vector<double>(static_cast<std::size_t>(many_rows * K))};
    const Fitted fitted = fit_in_world(GetParam(), table, {1, 1, false}, {});
    model->set_standardisation(standardise_for(model->scaling(), fitted.summary));
    IoExecutor io;
    const MemoryRows rows(table.matrix());
    Shard::Options options;
    options.memory_limit = streamed ? 1 : 0;
    options.precision = GetParam().precision;
    options.lanes = threads;
    const BlockPlan blocks = blocks_of(table, *model, block_rows);
    Shard shard(io, Inputs{&rows, nullptr, nullptr}, blocks, ShardRange{0, blocks.block_count()}, options);
    shard.prepare({model->standardisation(), model->log_base_measure()}, [] {});
    const auto bound = model->bind({GetParam().precision, threads, 1, Summation::exact});
    bound->prepare(0, fitted.best().parameters);
    SingleProcess alone;
    RankExchange exchange(shard, alone);
    const int candidates[] = {0};
    bound->exchange_messages(shard, candidates, PassKind::evaluation, exchange, [] {});
    bound->evaluate(
        shard, {true, true, true},
        [&](Index first, Index count, const RowResults& results) {
          std::copy_n(results.labels, count, all.labels.begin() + first);
          std::copy_n(results.objectives, count, all.objectives.begin() + first);
          std::copy_n(results.responsibilities, count * K, all.responsibilities.begin() + first * K);
        },
        [] {});
    double sum = 0;
    for (const double objective : all.objectives) sum += objective;
    EXPECT_NEAR(model->objective_in_user_units(sum, many_rows), fitted.best().trace.back(),
                rounding_of(GetParam()) * std::abs(fitted.best().trace.back()));
    return all;
  };

  const Results one = evaluate(1, false), two = evaluate(2, true);

  EXPECT_EQ(one.labels, two.labels);
  EXPECT_EQ(one.objectives, two.objectives);
  EXPECT_EQ(one.responsibilities, two.responsibilities);
  for (Index i = 0; i < many_rows; ++i) {
    const double* r = one.responsibilities.data() + i * K;
    const auto label = static_cast<Index>(one.labels[static_cast<std::size_t>(i)]);
    ASSERT_NEAR(std::accumulate(r, r + K, 0.0), 1, 1e-6);
    ASSERT_EQ(r[label], *std::max_element(r, r + K));
  }
}

// The rest asks nothing of a particular model.

const ModelCase gaussian = registered("gmm", {{"covariance", "full"}}, Precision::double_precision);

TEST(EmFit, PlainSumsDoNotReproduce) {
  const Table table = planted(gaussian, many_rows);
  FitPlan plan;
  plan.options.summation = Summation::plain;

  const Fitted one = fit_in_world(gaussian, table, {1, 1, false}, plan);
  const Fitted three = fit_in_world(gaussian, table, {3, 1, false}, plan);

  EXPECT_NE(bits_of(one.state), bits_of(three.state));
  expect_close(one.described, three.described, 1e-10);
}

TEST(EmFit, ARankWithOtherParametersIsNamed) {
  const Table table = planted(gaussian, many_rows);
  FitPlan plan;
  plan.alter = [](int rank, FitState& state, DataSummary&) {
    double& value = state.candidates[0].parameters[4];
    if (rank == 2) value = std::nextafter(value, 1e9);
  };

  for (const RankError& error : errors_of_ranks(gaussian, table, {4, 1, false}, plan)) {
    EXPECT_EQ(error.kind, ErrorKind::communication);
    EXPECT_THAT(error.message, AllOf(HasSubstr("different parameters"), HasSubstr("rank 2 on node0")));
  }
}

TEST(EmFit, AReadErrorInALaterPassIsAgreedUpon) {
  const Table table = planted(gaussian, many_rows);
  FitPlan plan;
  plan.unreadable_on_rank = 2;
  plan.bad_row = many_rows - 1;
  plan.reads_allowed = 3;
  std::atomic<int> agreed = 0;

  run_in_threads(3, [&](Communicator& world) {
    try {
      fit_on_rank(gaussian, table, {3, 2, true}, plan, world);
    } catch (const AgreedFailure&) {
      ++agreed;
    }
  });

  EXPECT_EQ(agreed, 3);
}

TEST(EmFit, TheFirstNaNIsNamedWhicheverRankHoldsIt) {
  Table table = planted(gaussian, many_rows);
  table.values[3 * 2000 + 1] = std::numeric_limits<double>::quiet_NaN();
  table.values[3 * 3000 + 2] = std::numeric_limits<double>::infinity();

  for (const int ranks : {1, 4})
    for (const RankError& error : errors_of_ranks(gaussian, table, {ranks, 2, true}, {})) {
      EXPECT_EQ(error.kind, ErrorKind::data);
      EXPECT_THAT(error.message, HasSubstr("x row 2000, column 1 is NaN"));
    }
}

TEST(EmFit, AFailedStartLeavesTheOthersAlone) {
  const Table table = planted(gaussian, many_rows);
  FitPlan plan;
  const Fitted alone = fit_in_world(gaussian, table, {1, 1, false}, plan);
  plan.restarts = 2;
  plan.alter = [](int, FitState& state, DataSummary&) {
    state.candidates[1].failure = "given up";
    state.candidates[1].reason = StopReason::failed;
  };

  const Fitted fitted = fit_in_world(gaussian, table, {2, 1, false}, plan);

  EXPECT_EQ(fitted.outcome.best, 0);
  EXPECT_EQ(fitted.state.candidates[0].parameters, alone.best().parameters);
}

TEST(EmFit, TheBestCandidateHasTheBestLastObjectiveOfThoseThatDidNotFail) {
  const auto likelihood = make_poisson_mixture(1, 1);
  const auto inertia = make_kmeans(1, 1);
  FitState state;
  state.candidates.resize(5);  // the first has no objective yet
  state.candidates[1].trace = {9, 2};
  state.candidates[2].trace = {1, 3};
  state.candidates[3].trace = {0, 3};
  state.candidates[4].trace = {5, 1};

  EXPECT_EQ(best_candidate(*likelihood, state), 2);
  EXPECT_EQ(best_candidate(*inertia, state), 4);
  state.candidates[2].reason = state.candidates[4].reason = StopReason::failed;
  EXPECT_EQ(best_candidate(*likelihood, state), 3);
  EXPECT_EQ(best_candidate(*inertia, state), 1);
  state.candidates.resize(1);
  EXPECT_EQ(best_candidate(*likelihood, state), std::nullopt);
}

TEST(EmFit, ToleranceEndsAFitWhoseMeanObjectiveStandsStill) {
  const Table table = planted(gaussian, many_rows);
  FitPlan plan;
  plan.options.max_iterations = 500;
  plan.options.tolerance = 1e-4;

  const Fitted fitted = fit_in_world(gaussian, table, {2, 1, false}, plan);

  const auto& trace = fitted.best().trace;
  ASSERT_GE(trace.size(), 3u);
  const auto change = [&](std::size_t i) { return std::abs(trace[i] - trace[i - 1]) / static_cast<double>(many_rows); };
  EXPECT_EQ(fitted.best().reason, StopReason::converged);
  EXPECT_LT(change(trace.size() - 1), 1e-4);
  for (std::size_t i = 1; i + 1 < trace.size(); ++i) EXPECT_GE(change(i), 1e-4);
}

TEST(EmFit, KMeansStopsAtItsFixedPoint) {
  const ModelCase kmeans = registered("kmeans", {}, Precision::double_precision);
  FitPlan plan;
  plan.options.max_iterations = 500;

  const Fitted fitted = fit_in_world(kmeans, planted(kmeans, many_rows), {2, 1, false}, plan);

  const auto& trace = fitted.best().trace;
  EXPECT_EQ(fitted.best().reason, StopReason::fixed_point);
  EXPECT_EQ(trace.size(), static_cast<std::size_t>(fitted.best().m_steps) + 1);
}

TEST(EmFit, ZeroIterationsScoreTheStart) {
  FitPlan plan;
  plan.options.max_iterations = 0;

  const Fitted fitted = fit_in_world(gaussian, planted(gaussian, many_rows), {2, 1, false}, plan);

  EXPECT_EQ(fitted.best().trace.size(), 1u);
  EXPECT_EQ(fitted.best().m_steps, 0);
}

}  // namespace
}  // namespace tally
