#include "algorithms/em_start.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/models/gmm.hpp"
#include "algorithms/models/kmeans.hpp"
#include "algorithms/models/poisson.hpp"
#include "algorithms/registry.hpp"
#include "comm/single_process.hpp"
#include "core/error.hpp"
#include "tests/unit/conformance.hpp"

namespace tally {
namespace {

using ::testing::HasSubstr;

constexpr SampleStart all_starts[] = {SampleStart::kmeans, SampleStart::kmeans_plus_plus, SampleStart::random,
                                      SampleStart::random_from_data};

// Counts in two columns, clusters around (2, 2), (20, 2) and (2, 20).
Table clustered(Index rows) {
  Table table{2, {}, {}};
  const RandomKey key{21, 1};
  for (Index i = 0; i < rows; ++i) {
    const auto row = static_cast<std::uint64_t>(i);
    const auto cluster = below(key, row, 0, 3);
    for (std::uint32_t d = 0; d < 2; ++d)
      table.values.push_back(
          static_cast<double>(poisson(key, row, 1 + d * poisson_draws, cluster == d + 1 ? 20 : 2)));
  }
  return table;
}

Scan scan_of(const Table& table) {
  IoExecutor io;
  const MemoryRows rows(table.matrix()), weights({table.weights.data(), table.rows(), 1});
  const BlockPlan plan = BlockPlan::uniform(table.rows(), 64);
  Shard shard(io, {&rows, table.weights.empty() ? nullptr : &weights, nullptr}, plan, {0, plan.block_count()}, {});
  SingleProcess alone;
  return scan(shard, Domain::real, table.rows(), 0, alone);
}

std::vector<std::unique_ptr<Model>> models(const Scan& seen, Index components) {
  std::vector<std::unique_ptr<Model>> all;
  all.push_back(make_gaussian_mixture(components, 2, {}));
  all.push_back(make_kmeans(components, 2));
  all.push_back(make_poisson_mixture(components, 2));
  for (const auto& model : all) model->set_standardisation(standardise_for(model->scaling(), seen.summary));
  return all;
}

TEST(Start, LanesDoNotMatter) {
  const Scan seen = scan_of(clustered(9000));  // more than two blocks of the sample
  IoExecutor io;
  for (const auto& model : models(seen, 3))
    for (const SampleStart start : all_starts)
      EXPECT_EQ(start_from_sample(*model, seen, {.start = start, .seed = 4, .lanes = 1}, io),
                start_from_sample(*model, seen, {.start = start, .seed = 4, .lanes = 3}, io));
}

TEST(Start, RestartsAndSeedsDiffer) {
  const Scan seen = scan_of(clustered(300));
  IoExecutor io;
  for (const auto& model : models(seen, 5))
    for (const SampleStart start : all_starts) {
      std::set<std::vector<double>> different;
      for (int restart = 0; restart < 4; ++restart)
        different.insert(start_from_sample(*model, seen, {.start = start, .seed = 4, .restart = restart}, io));
      different.insert(start_from_sample(*model, seen, {.start = start, .seed = 5, .restart = 0}, io));
      EXPECT_EQ(different.size(), 5u) << model->name() << " " << static_cast<int>(start);
    }
}

// From equal transitions EM would stay at a saddle where states emit alike.
TEST(Start, TransitionsOfAChainDifferBetweenStates) {
  const Scan seen = scan_of(clustered(300));
  Registry registry;
  add_builtin_models(registry);
  const auto model = registry.find("hmm").make(3, 2, {{"emission", "poisson"}});
  model->set_standardisation(standardise_for(model->scaling(), seen.summary));
  const auto transitions = [&](SampleStart start, int restart, int lanes) {
    IoExecutor io;
    const auto parameters =
        start_from_sample(*model, seen, {.start = start, .seed = 4, .restart = restart, .lanes = lanes}, io);
    const auto values = model->parameters()["transmat"].in(std::span(parameters));
    return std::vector<double>(values.begin(), values.end());
  };

  for (const SampleStart start : all_starts) {
    const std::vector<double> values = transitions(start, 0, 1);
    EXPECT_EQ(std::set<double>(values.begin(), values.end()).size(), 9u);
    EXPECT_EQ(values, transitions(start, 0, 3));
    EXPECT_NE(values, transitions(start, 1, 1));
  }
}

TEST(Start, NoRowIsDrawnTwiceWhereSomeAreKnown) {
  const Table table{2, {0, 0, 10, 0, 0, 10, 10, 10}, {}};
  Scan seen = scan_of(table);
  seen.known = {{0, 0, 10, 10}, {0, 2}};
  IoExecutor io;
  const auto gmm = make_gaussian_mixture(4, 2, {});
  gmm->set_standardisation(standardise_for(gmm->scaling(), seen.summary));
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto start = start_from_sample(*gmm, seen, {.start = SampleStart::random_from_data, .seed = seed}, io);
    const auto means = gmm->parameters()["means"].matrix(std::span(start));

    std::set<std::pair<double, double>> different;
    for (Index k = 0; k < 4; ++k) different.emplace(means(k, 0), means(k, 1));
    EXPECT_EQ(different.size(), 4u) << "seed " << seed;
  }
}

TEST(Start, KnownRowsAreDrawnWhereThereAreNoOthers) {
  const Table table{2, {0, 0, 10, 10, 0, 0, 10, 10}, {}};
  Scan seen = scan_of(table);
  seen.known = {{0, 0, 10, 10}, {0, 0}};
  IoExecutor io;
  for (const auto& model : models(seen, 4))
    for (const double value : start_from_sample(*model, seen, {.start = SampleStart::random_from_data}, io))
      EXPECT_TRUE(std::isfinite(value));
}

TEST(Start, EveryNumberIsFinite) {
  const Scan seen = scan_of(clustered(300));
  IoExecutor io;
  for (const auto& model : models(seen, 3))
    for (const SampleStart start : all_starts)
      for (const double value : start_from_sample(*model, seen, {.start = start}, io))
        EXPECT_TRUE(std::isfinite(value));
}

TEST(Start, KMeansFindsTheClusters) {
  const Scan seen = scan_of(clustered(3000));
  IoExecutor io;
  const auto model = make_kmeans(3, 2);
  model->set_standardisation(standardise_for(model->scaling(), seen.summary));

  auto arrays = model->describe(start_from_sample(*model, seen, {.start = SampleStart::kmeans}, io));

  const auto& centers = arrays["centers"].values;
  for (const auto& [x, y] : {std::pair{2.0, 2.0}, {20.0, 2.0}, {2.0, 20.0}}) {
    double nearest = 1e9;
    for (std::size_t k = 0; k < 3; ++k) nearest = std::min(nearest, std::hypot(centers[2 * k] - x, centers[2 * k + 1] - y));
    EXPECT_LT(nearest, 1);
  }
}

TEST(ChooseSeeds, SpreadOverTheClusters) {
  const Scan seen = scan_of({1, {0, 0.1, 0.2, 1000, 1000.1, 1000.2, 2000, 2000.1}, {}});
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    std::set<int> thousands;
    for (const Index row : choose_seeds(seen.sample, 1, 3, {.seed = seed}))
      thousands.insert(static_cast<int>(std::round(seen.sample.values[static_cast<std::size_t>(row)] / 1000)));
    EXPECT_EQ(thousands.size(), 3u);
  }
}

TEST(ChooseSeeds, DuplicatesAloneAreNoDivisionByZero) {
  const Scan seen = scan_of({2, std::vector<double>(40, 3.5), {}});

  const auto seeds = choose_seeds(seen.sample, 2, 5, {});

  EXPECT_EQ(seeds.size(), 5u);
  for (const Index row : seeds) EXPECT_TRUE(row >= 0 && row < 20);
}

TEST(ChooseSeeds, DistinctValuesComeFirst) {
  const Scan seen = scan_of({1, {7, 7, 7, 7, 7, 7, 7, 9, 7, 7, 7, 7}, {}});
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto seeds = choose_seeds(seen.sample, 1, 2, {.seed = seed});
    EXPECT_EQ(std::ranges::count(seeds, 7), 1);
  }
}

TEST(ChooseSeeds, RowsOfWeightZeroAreNeverChosen) {
  Table table{1, {}, {}};
  for (int i = 0; i < 30; ++i) {
    table.values.push_back(i % 3 ? i : 1e300);
    table.weights.push_back(i % 3);
  }
  const Scan seen = scan_of(table);

  for (std::uint64_t seed = 0; seed < 20; ++seed)
    for (const Index row : choose_seeds(seen.sample, 1, 8, {.seed = seed})) EXPECT_NE(row % 3, 0);
}

TEST(ChooseSeeds, NoSquareOverflows) {
  const Scan seen = scan_of({1, {-1e300, -0.9e300, 1e300, 0.9e300}, {}});
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto seeds = choose_seeds(seen.sample, 1, 2, {.seed = seed});
    EXPECT_LT(seen.sample.values[static_cast<std::size_t>(seeds[0])] *
                  (seen.sample.values[static_cast<std::size_t>(seeds[1])] / 1e300),
              0);
  }
}

TEST(Start, MoreComponentsThanUsableRowsIsAnError) {
  Table table = clustered(10);
  table.weights = {1, 1, 1, 0, 0, 0, 0, 0, 0, 0};
  const Scan seen = scan_of(table);
  IoExecutor io;
  for (const auto& model : models(seen, 4))
    for (const SampleStart start : {SampleStart::kmeans, SampleStart::kmeans_plus_plus, SampleStart::random_from_data}) {
      std::string message;
      try {
        start_from_sample(*model, seen, {.start = start}, io);
      } catch (const DataError& error) {
        message = error.what();
      }
      EXPECT_THAT(message, HasSubstr("4 components need as many rows of positive weight, there are 3"));
    }
}

TEST(Start, WordsOfTheCommandLineAreUnderstood) {
  EXPECT_EQ(parse_sample_start("k-means++"), SampleStart::kmeans_plus_plus);
  EXPECT_EQ(parse_sample_start("random-from-data"), SampleStart::random_from_data);
  EXPECT_THROW(parse_sample_start("kmeans++"), UsageError);
}

}  // namespace
}  // namespace tally
