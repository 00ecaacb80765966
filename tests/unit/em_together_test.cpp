#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "algorithms/em_entropy.hpp"
#include "algorithms/families/gaussian.hpp"
#include "algorithms/models/gmm.hpp"
#include "core/error.hpp"
#include "tests/unit/conformance.hpp"

namespace tally {
namespace {

struct Shape {
  Covariance covariance;
  Index components;
};

// Three clouds in a plane of unequal scales, with weights.
Table three_clouds() {
  Table table{2, {}, {}};
  for (Index i = 0; i < 700; ++i) {
    const auto u = [&](std::uint32_t draw) { return uniform({3, 7}, static_cast<std::uint64_t>(i), draw); };
    const double centre = 6 * static_cast<double>(i % 3);
    table.values.push_back(centre + u(0) + u(1));
    table.values.push_back(300 * (u(2) + u(3)) - 100 * centre);
    table.weights.push_back(0.5 + u(4));
  }
  return table;
}

struct Together {
  std::vector<FitState> states;
  std::vector<double> entropies;
  bool stopped = false;
  int sums = 0, others = 0;
};

// Every shape with two starts, together; `as_one` where they standardise alike and the shard may be prepared.
Together fit_on_rank(const std::vector<Shape>& shapes, const Table& table, const Cut& cut, const FitOptions& options,
                     Communicator& world, bool as_one) {
  CountingCommunicator communicator(world);
  IoExecutor io;
  const MemoryRows rows(table.matrix(), "x");
  const MemoryRows weights({table.weights.data(), table.rows(), 1}, "w");
  const BlockPlan blocks = BlockPlan::uniform(table.rows(), 64);
  const BlockRange range = blocks_of_rank(blocks, communicator.rank(), communicator.size());
  Shard::Options shard_options;
  shard_options.memory_limit = cut.streamed ? 1 : 0;
  shard_options.precision = options.precision;
  shard_options.lanes = cut.threads;
  Shard shard(io, Inputs{&rows, &weights, nullptr}, blocks, ShardRange{range.first, range.last}, shard_options);
  const Scan seen = scan(shard, Domain::real, table.rows(), 1, communicator);

  std::vector<std::unique_ptr<Model>> models;
  Together result;
  result.states.resize(shapes.size());
  std::vector<FitTask> tasks;
  for (std::size_t m = 0; m < shapes.size(); ++m) {
    GaussianOptions gaussian;
    gaussian.covariance = shapes[m].covariance;
    models.push_back(make_gaussian_mixture(shapes[m].components, table.columns, gaussian));
    models.back()->set_standardisation(standardise_for(models.back()->scaling(), seen.summary));
    StartOptions start;
    start.start = SampleStart::random_from_data;
    for (start.restart = 0; start.restart < 2; ++start.restart)
      result.states[m].candidates.emplace_back().parameters = start_from_sample(*models.back(), seen, start, io);
    tasks.push_back({models.back().get(), &result.states[m]});
  }
  if (as_one) shard.prepare({models.front()->standardisation(), models.front()->log_base_measure()}, [] {});
  FitObserver nobody;
  const int before = communicator.sums;
  result.stopped = fit_together(tasks, shard, seen.summary, options, communicator, nobody);
  result.sums = communicator.sums - before;
  result.others = communicator.others;
  std::vector<FittedModel> fitted;
  for (const FitTask& task : tasks) fitted.push_back({task.model, &task.state->candidates.front().parameters});
  result.entropies = assignment_entropies(fitted, shard, options, communicator);
  return result;
}

std::vector<Together> fit_in_world(const std::vector<Shape>& shapes, const Cut& cut, const FitOptions& options, bool as_one) {
  const Table table = three_clouds();
  std::vector<Together> results(static_cast<std::size_t>(cut.ranks));
  run_in_threads(cut.ranks, [&](Communicator& world) {
    results[static_cast<std::size_t>(world.rank())] = fit_on_rank(shapes, table, cut, options, world, as_one);
  });
  return results;
}

const std::vector<Shape> mixed = {
    {Covariance::full, 3}, {Covariance::spherical, 2}, {Covariance::diag, 4}, {Covariance::tied, 3}, {Covariance::full, 1}};
const std::vector<Shape> alike = {{Covariance::full, 2}, {Covariance::diag, 3}, {Covariance::full, 4}};

TEST(FitTogether, EachModelHasTheBitsOfItsOwnFit) {
  for (const Precision precision : {Precision::double_precision, Precision::single_precision})
    for (const auto* shapes : {&mixed, &alike}) {
      const FitOptions options{.max_iterations = 6, .tolerance = 0, .precision = precision};
      std::vector<std::vector<std::uint64_t>> alone;
      std::vector<double> entropies;
      for (const Shape& shape : *shapes) {
        const Together one = fit_in_world({shape}, {}, options, true).front();
        alone.push_back(bits_of(one.states.front()));
        entropies.push_back(one.entropies.front());
      }
      for (const Cut& cut : {Cut{1, 1, false}, Cut{1, 2, true}, Cut{3, 2, false}, Cut{3, 1, true}})
        for (const Together& together : fit_in_world(*shapes, cut, options, shapes == &alike)) {
          for (std::size_t m = 0; m < shapes->size(); ++m) EXPECT_EQ(bits_of(together.states[m]), alone[m]) << m;
          EXPECT_EQ(together.entropies, entropies);
        }
    }
}

TEST(FitTogether, OneSumAnIterationServesAllAndModelsThatEndedAreLeftOut) {
  const FitOptions options{.max_iterations = 40, .tolerance = 1e-3};
  int most = 0, fewest = 1000, longest_alone = 0;
  for (const Shape& shape : mixed) {
    const Together one = fit_in_world({shape}, {}, options, true).front();
    longest_alone = std::max(longest_alone, one.states.front().iteration);
  }

  const Together together = fit_in_world(mixed, {2, 1, false}, options, false).front();

  for (const FitState& state : together.states) {
    most = std::max(most, state.iteration);
    fewest = std::min(fewest, state.iteration);
  }
  EXPECT_LT(fewest, most);
  EXPECT_EQ(most, longest_alone);
  EXPECT_EQ(together.sums, most);
  EXPECT_FALSE(together.stopped);
}

TEST(FitTogether, AValueBeyondItsGridWidensThatModelsGrids) {
  Table table = three_clouds();
  const FitOptions options{.max_iterations = 4, .tolerance = 0};
  const Together straight = fit_in_world(alike, {}, options, true).front();
  // Grids far too narrow for one of the models.
  IoExecutor io;
  const MemoryRows rows(table.matrix(), "x");
  const MemoryRows weights({table.weights.data(), table.rows(), 1}, "w");
  run_in_threads(1, [&](Communicator& world) {
    Shard shard(io, Inputs{&rows, &weights, nullptr}, BlockPlan::uniform(table.rows(), 64), ShardRange{0, 11}, {});
    const Scan seen = scan(shard, Domain::real, table.rows(), 1, world);
    std::vector<std::unique_ptr<Model>> models;
    std::vector<FitState> states(alike.size());
    std::vector<FitTask> tasks;
    for (std::size_t m = 0; m < alike.size(); ++m) {
      GaussianOptions gaussian;
      gaussian.covariance = alike[m].covariance;
      models.push_back(make_gaussian_mixture(alike[m].components, 2, gaussian));
      models.back()->set_standardisation(standardise_for(models.back()->scaling(), seen.summary));
      StartOptions start;
      start.start = SampleStart::random_from_data;
      for (start.restart = 0; start.restart < 2; ++start.restart)
        states[m].candidates.emplace_back().parameters = start_from_sample(*models.back(), seen, start, io);
      tasks.push_back({models.back().get(), &states[m]});
    }
    states[1].exponents.assign(models[1]->statistics().fields().size(), -200);
    shard.prepare({models.front()->standardisation(), nullptr}, [] {});
    FitObserver nobody;
    fit_together(tasks, shard, seen.summary, options, world, nobody);
    EXPECT_EQ(bits_of(states[0]), bits_of(straight.states[0]));
    EXPECT_EQ(bits_of(states[2]), bits_of(straight.states[2]));
    for (const int exponent : states[1].exponents) EXPECT_GT(exponent, -200);
    for (std::size_t c = 0; c < 2; ++c)
      EXPECT_NEAR(states[1].candidates[c].trace.back(), straight.states[1].candidates[c].trace.back(), 1e-6);
  });
}

TEST(AssignmentEntropy, IsZeroWithOneComponentAndLogTwoARowWhereTwoAreTheSame) {
  const Table table = three_clouds();
  double weight = 0;
  for (const double each : table.weights) weight += each;
  IoExecutor io;
  const MemoryRows rows(table.matrix(), "x");
  const MemoryRows weights({table.weights.data(), table.rows(), 1}, "w");
  run_in_threads(1, [&](Communicator& world) {
    Shard shard(io, Inputs{&rows, &weights, nullptr}, BlockPlan::uniform(table.rows(), 64), ShardRange{0, 11}, {});
    const Scan seen = scan(shard, Domain::real, table.rows(), 1, world);
    std::vector<std::unique_ptr<Model>> models;
    std::vector<std::vector<double>> parameters;
    for (const Index K : {1, 2}) {
      models.push_back(make_gaussian_mixture(K, 2, {}));
      models.back()->set_standardisation(standardise_for(models.back()->scaling(), seen.summary));
      parameters.emplace_back(static_cast<std::size_t>(models.back()->parameters().size()));
      const std::vector<double> same(static_cast<std::size_t>(2 * K), 3.0);
      models.back()->start_at(MatrixView<const double>(same.data(), K, 2), seen.summary, parameters.back());
    }
    shard.prepare({models.front()->standardisation(), nullptr}, [] {});

    const std::vector<FittedModel> fitted = {{models[0].get(), &parameters[0]}, {models[1].get(), &parameters[1]}};
    const std::vector<double> entropies = assignment_entropies(fitted, shard, {}, world);

    EXPECT_EQ(entropies[0], 0);
    EXPECT_NEAR(entropies[1], weight * std::log(2.0), 1e-9 * weight);
  });
}

}  // namespace
}  // namespace tally
