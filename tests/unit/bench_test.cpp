#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/bench/check.hpp"
#include "launch/bench/clustered_rows.hpp"
#include "launch/bench/spread.hpp"
#include "launch/bench/work.hpp"
#include "launch/bench/workloads.hpp"

namespace tally::bench {
namespace {

using ::testing::Contains;
using ::testing::StartsWith;

FitResults right_results() {
  FitResults results;
  results.trace = {-30, -20, -12};
  results.sum_of_rows = -12;
  results.some_rows = {-3, -4, -5};
  results.naive_rows = results.some_rows;
  return results;
}

TEST(BenchCheck, RightResultsAreRight) {
  EXPECT_EQ(verdict(find_error(right_results(), {})), "right");

  FitResults without_naive = right_results();
  without_naive.naive_rows.clear();
  EXPECT_EQ(find_error(without_naive, {}), "");

  FitResults falling = right_results();
  falling.trace = {30, 20, 12};
  falling.sum_of_rows = 12;
  falling.larger_is_better = false;
  EXPECT_EQ(find_error(falling, {}), "");
}

TEST(BenchCheck, AWrongResultPrintsWrong) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto verdict_after = [](const auto& change) {
    FitResults results = right_results();
    change(results);
    return verdict(find_error(results, {}));
  };

  EXPECT_THAT(verdict_after([](FitResults& r) { r.sum_of_rows = -12.001; }),
              StartsWith("WRONG: the rows sum to"));
  EXPECT_THAT(verdict_after([&](FitResults& r) { r.sum_of_rows = nan; }),
              StartsWith("WRONG: the rows sum to"));
  EXPECT_THAT(verdict_after([](FitResults& r) { r.some_rows[1] = -4.001; }), StartsWith("WRONG: row 1 has"));
  EXPECT_THAT(verdict_after([&](FitResults& r) { r.some_rows[2] = nan; }), StartsWith("WRONG: row 2 has"));
  EXPECT_EQ(verdict_after([](FitResults& r) { r.trace[1] = -31; }),
            "WRONG: the objective gets worse in iteration 1");
  EXPECT_EQ(verdict_after([](FitResults& r) { r.larger_is_better = false; }),
            "WRONG: the objective gets worse in iteration 1");
  EXPECT_EQ(verdict_after([&](FitResults& r) { r.trace[0] = nan; }),
            "WRONG: the objective gets worse in iteration 1");
  EXPECT_EQ(verdict_after([](FitResults& r) { r.trace.clear(); }), "WRONG: the fit has no objective");
}

TEST(BenchSpread, QuartilesLieBetweenSamplesInProportion) {
  const Spread spread = spread_of({4, 1, 3, 2});

  EXPECT_EQ(spread.best, 1);
  EXPECT_EQ(spread.lower_quartile, 1.75);
  EXPECT_EQ(spread.median, 2.5);
  EXPECT_EQ(spread.upper_quartile, 3.25);
  EXPECT_EQ(spread.worst, 4);
  EXPECT_EQ(spread.samples, 4);
  EXPECT_EQ(spread_of({7}).upper_quartile, 7);
  EXPECT_EQ(spread_of({}).samples, 0);
}

TEST(BenchWorkloads, EveryModelAndVariantOfTheRegistryIsMeasured) {
  Registry registry;
  add_builtin_models(registry);
  ModelEntry mine = registry.find("kmeans");
  mine.name = "mine";
  registry.add(mine);

  std::vector<std::string> names;
  for (const NamedWorkload& each :
       workloads_of(registry, {1000, 4, 3, 100}, Precision::double_precision, 2)) {
    names.push_back(each.name);
    EXPECT_EQ(each.workload.rows, 2000);
    EXPECT_EQ(each.workload.sequences ? each.workload.sequences->count() : 0, each.workload.model->of_sequences ? 20 : 0);
    EXPECT_NO_THROW(each.workload.make()) << each.name;
  }

  for (const char* name :
       {"gmm full", "gmm tied", "gmm diag", "gmm spherical", "kmeans", "poisson", "categorical", "bernoulli", "exponential",
        "gamma", "binomial", "multinomial", "von-mises-fisher", "hmm gamma", "hmm binomial", "hmm multinomial", "hmm von-mises-fisher",
        "student-t full", "student-t diag", "hmm student-t", "hmm gaussian", "hmm poisson", "hmm categorical", "hmm bernoulli", "hmm exponential", "mine"})
    EXPECT_THAT(names, Contains(std::string(name) + " 1000 x 4, K 3"));
}

TEST(BenchWork, OperationsAreCountedByTheConventionStated) {
  Registry registry;
  add_builtin_models(registry);
  const auto operations = [&](const std::string& model, OptionValues options) {
    return work_of({&registry.find(model), options, 10, 3, 2}).operations;
  };

  EXPECT_EQ(operations("gmm", {}), 4 * 10 * 2 * (1 + 3 + 6));
  EXPECT_EQ(operations("gmm", {{"covariance", "tied"}}), 4 * 10 * (2 * 4 + 6));
  EXPECT_EQ(operations("gmm", {{"covariance", "diag"}}), 4 * 10 * 2 * 7);
  EXPECT_EQ(operations("gmm", {{"covariance", "spherical"}}), 4 * 10 * 2 * 5);
  EXPECT_EQ(operations("bernoulli", {}), 4 * 10 * 2 * 7);
  EXPECT_EQ(operations("poisson", {}), 4 * 10 * 2 * 4);
  EXPECT_EQ(operations("exponential", {}), 4 * 10 * 2 * 4);
  EXPECT_EQ(operations("gamma", {}), 4 * 10 * 2 * 7);
  EXPECT_EQ(operations("binomial", {}), 4 * 10 * 2 * 7);
  EXPECT_EQ(operations("multinomial", {}), 4 * 10 * 2 * 4);
  EXPECT_EQ(operations("von-mises-fisher", {}), 4 * 10 * 2 * 4);
  EXPECT_EQ(operations("student-t", {}), 6 * 10 * 2 * (1 + 3 + 6));
  EXPECT_EQ(operations("categorical", {}), 2 * 10 * 2 * 3);
  EXPECT_EQ(operations("kmeans", {}), 2 * 10 * 2 * 3);
  EXPECT_EQ(operations("hmm", {}), 6 * 10 * 4);
  EXPECT_EQ(work_of({&registry.find("gmm"), {}, 10, 3, 2}).bytes, 10 * 3 * 8);
}

TEST(BenchRows, AreTheSameHoweverTheyAreRead) {
  for (const Domain domain : {Domain::real, Domain::counts, Domain::symbols(5)}) {
    const ClusteredRows rows(domain, 50, 3, 4, 1);
    std::vector<double> all(150), part(30);

    rows.read(0, 50, all.data());
    rows.read(20, 10, part.data());

    EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 60));
    for (const double value : all) EXPECT_TRUE(domain.takes(value)) << value;
  }
}

}  // namespace
}  // namespace tally::bench
