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

constexpr int far_too_narrow = -200;  // exponent of a grid

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

// The clouds as one rank has them, seen by the first scan.
struct CloudsOfRank {
  Table table = three_clouds();
  MemoryRows rows{table.matrix(), "x"}, weights{{table.weights.data(), table.rows(), 1}, "w"};
  IoExecutor io;
  BlockPlan blocks = BlockPlan::uniform(table.rows(), 64);
  BlockRange range;
  Shard shard;
  Scan seen;

  explicit CloudsOfRank(Communicator& communicator, const Cut& cut = {}, const FitOptions& options = {})
      : range(blocks_of_rank(blocks, communicator.rank(), communicator.size())),
        shard(io, Inputs{&rows, &weights, nullptr}, blocks, ShardRange{range.first, range.last},
              {cut.streamed ? 1 : 0, options.precision, cut.threads}),
        seen(scan(shard, Domain::real, table.rows(), 1, communicator)) {}

  std::unique_ptr<Model> mixture_of(const Shape& shape) const {
    GaussianOptions options;
    options.covariance = shape.covariance;
    auto model = make_gaussian_mixture(shape.components, table.columns, options);
    model->set_standardisation(standardise_for(model->scaling(), seen.summary));
    return model;
  }
  void prepare_for(const Model& model) { shard.prepare({model.standardisation(), model.log_base_measure()}, [] {}); }
};

struct Together {
  std::vector<FitState> states;
  std::vector<double> entropies;
  bool stopped = false;
  int sums = 0, others = 0;
};

// How the shapes are fitted.
struct Way {
  bool as_one = true;      // they standardise alike and the shard may be prepared
  bool too_narrow = false; // the grids of the second
};

// Every shape with two starts, together.
Together fit_on_rank(const std::vector<Shape>& shapes, const Cut& cut, const FitOptions& options, Communicator& world,
                     const Way& way) {
  CountingCommunicator communicator(world);
  CloudsOfRank clouds(communicator, cut, options);
  std::vector<std::unique_ptr<Model>> models;
  Together result;
  result.states.resize(shapes.size());
  std::vector<FitTask> tasks;
  for (std::size_t m = 0; m < shapes.size(); ++m) {
    models.push_back(clouds.mixture_of(shapes[m]));
    StartOptions start;
    start.start = SampleStart::random_from_data;
    for (start.restart = 0; start.restart < 2; ++start.restart)
      result.states[m].candidates.emplace_back().parameters =
          start_from_sample(*models.back(), clouds.seen, start, clouds.io);
    tasks.push_back({models.back().get(), &result.states[m]});
  }
  if (way.too_narrow) result.states[1].exponents.assign(models[1]->statistics().fields().size(), far_too_narrow);
  if (way.as_one) clouds.prepare_for(*models.front());
  FitObserver nobody;
  const int before = communicator.sums;
  result.stopped = fit_together(tasks, clouds.shard, clouds.seen.summary, options, communicator, nobody);
  result.sums = communicator.sums - before;
  result.others = communicator.others;
  std::vector<FittedModel> fitted;
  for (const FitTask& task : tasks) fitted.push_back({task.model, &task.state->candidates.front().parameters});
  result.entropies = assignment_entropies(fitted, clouds.shard, options, communicator);
  return result;
}

std::vector<Together> fit_in_world(const std::vector<Shape>& shapes, const Cut& cut, const FitOptions& options,
                                   const Way& way = {}) {
  std::vector<Together> results(static_cast<std::size_t>(cut.ranks));
  run_in_threads(cut.ranks, [&](Communicator& world) {
    results[static_cast<std::size_t>(world.rank())] = fit_on_rank(shapes, cut, options, world, way);
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
        const Together one = fit_in_world({shape}, {}, options).front();
        alone.push_back(bits_of(one.states.front()));
        entropies.push_back(one.entropies.front());
      }
      for (const Cut& cut : {Cut{1, 1, false}, Cut{1, 2, true}, Cut{3, 2, false}, Cut{3, 1, true}})
        for (const Together& together : fit_in_world(*shapes, cut, options, {.as_one = shapes == &alike})) {
          for (std::size_t m = 0; m < shapes->size(); ++m) EXPECT_EQ(bits_of(together.states[m]), alone[m]) << m;
          EXPECT_EQ(together.entropies, entropies);
        }
    }
}

TEST(FitTogether, OneSumAnIterationServesAllAndModelsThatEndedAreLeftOut) {
  const FitOptions options{.max_iterations = 40, .tolerance = 1e-3};
  int most = 0, fewest = 1000, longest_alone = 0;
  for (const Shape& shape : mixed) {
    const Together one = fit_in_world({shape}, {}, options).front();
    longest_alone = std::max(longest_alone, one.states.front().iteration);
  }

  const Together together = fit_in_world(mixed, {2, 1, false}, options, {.as_one = false}).front();

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
  const FitOptions options{.max_iterations = 4, .tolerance = 0};
  const Together straight = fit_in_world(alike, {}, options).front();

  const Together widened = fit_in_world(alike, {}, options, {.too_narrow = true}).front();

  EXPECT_EQ(bits_of(widened.states[0]), bits_of(straight.states[0]));
  EXPECT_EQ(bits_of(widened.states[2]), bits_of(straight.states[2]));
  const std::vector<int>& exponents = widened.states[1].exponents;  // the last: of about_means, which stays 0
  for (std::size_t i = 0; i + 1 < exponents.size(); ++i) EXPECT_GT(exponents[i], far_too_narrow);
  for (std::size_t c = 0; c < 2; ++c)
    EXPECT_NEAR(widened.states[1].candidates[c].trace.back(), straight.states[1].candidates[c].trace.back(), 1e-6);
}

TEST(AssignmentEntropy, IsZeroWithOneComponentAndLogTwoARowWhereTwoAreTheSame) {
  run_in_threads(1, [](Communicator& world) {
    CloudsOfRank clouds(world);
    double weight = 0;
    for (const double each : clouds.table.weights) weight += each;
    std::vector<std::unique_ptr<Model>> models;
    std::vector<std::vector<double>> parameters;
    for (const Index K : {1, 2}) {
      models.push_back(clouds.mixture_of({Covariance::full, K}));
      parameters.emplace_back(static_cast<std::size_t>(models.back()->parameters().size()));
      const std::vector<double> same(static_cast<std::size_t>(2 * K), 3.0);
      models.back()->start_at(MatrixView<const double>(same.data(), K, 2), clouds.seen.summary, parameters.back());
    }
    clouds.prepare_for(*models.front());

    const std::vector<FittedModel> fitted = {{models[0].get(), &parameters[0]}, {models[1].get(), &parameters[1]}};
    const std::vector<double> entropies = assignment_entropies(fitted, clouds.shard, {}, world);

    EXPECT_EQ(entropies[0], 0);
    EXPECT_NEAR(entropies[1], weight * std::log(2.0), 1e-9 * weight);
  });
}

}  // namespace
}  // namespace tally
