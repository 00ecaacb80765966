#include "algorithms/batch_plan.hpp"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>

#include "core/error.hpp"

namespace tally {
namespace {

TEST(BatchPlan, AnEpochHasNoBlockTwiceAndLeavesOutLessThanABatch) {
  for (const Index blocks : {1, 2, 7, 64, 1000})
    for (const Index batch : {1, 3, 64, 5000})
      for (const Index held_out : {0, 1, 5}) {
        if (held_out >= blocks) continue;
        BatchPlan plan(blocks, batch, held_out, 3);
        ASSERT_EQ(static_cast<Index>(plan.held_out().size()), held_out);
        for (int epoch = 0; epoch < 3; ++epoch) {
          std::vector<Index> seen = plan.held_out();
          for (Index step = 0; step < plan.steps_per_epoch(); ++step) {
            const std::vector<Index> chosen = plan.batch(epoch * plan.steps_per_epoch() + step);
            EXPECT_TRUE(std::ranges::is_sorted(chosen));
            EXPECT_EQ(static_cast<Index>(chosen.size()), std::min(batch, blocks - held_out));
            seen.insert(seen.end(), chosen.begin(), chosen.end());
          }
          std::ranges::sort(seen);
          EXPECT_EQ(std::ranges::adjacent_find(seen), seen.end());
          EXPECT_GE(seen.front(), 0);
          EXPECT_LT(seen.back(), blocks);
          EXPECT_LT(blocks - static_cast<Index>(seen.size()), static_cast<Index>(plan.batch(0).size()));
        }
      }
}

TEST(BatchPlan, RanksHaveAboutTheSameShareOfEveryBatch) {
  constexpr Index blocks = 960, batch = 64, ranks = 4;
  BatchPlan plan(blocks, batch, 0, 1);
  for (Index step = 0; step < 30; ++step) {
    std::vector<Index> shares(ranks);
    for (const Index block : plan.batch(step)) ++shares[static_cast<std::size_t>(block / (blocks / ranks))];
    for (const Index share : shares) EXPECT_NEAR(static_cast<double>(share), static_cast<double>(batch / ranks), 1);
  }
}

TEST(BatchPlan, AllBlocksComeEquallyOftenWhereBatchesDoNotDivideThem) {
  constexpr Index blocks = 17, batch = 16, steps = 17000;
  BatchPlan plan(blocks, batch, 0, 1);
  std::vector<Index> counts(blocks);
  for (Index step = 0; step < steps; ++step)
    for (const Index block : plan.batch(step)) ++counts[static_cast<std::size_t>(block)];
  const double expected = static_cast<double>(steps) * batch / blocks;
  for (const Index count : counts) EXPECT_NEAR(static_cast<double>(count), expected, 0.02 * expected);
}

TEST(BatchPlan, TheSeedAndTheEpochDecideTheOrder) {
  BatchPlan plan(100, 5, 10, 1), again(100, 5, 10, 1), other(100, 5, 10, 2);
  EXPECT_EQ(plan.held_out(), again.held_out());
  EXPECT_NE(plan.held_out(), other.held_out());
  std::set<std::vector<Index>> batches;
  for (Index step = 0; step < 3 * plan.steps_per_epoch(); ++step) batches.insert(plan.batch(step));
  EXPECT_EQ(static_cast<Index>(batches.size()), 3 * plan.steps_per_epoch());
  EXPECT_EQ(plan.batch(40), again.batch(40));  // in any order of asking
  EXPECT_EQ(plan.batch(0), again.batch(0));
}

TEST(BatchPlan, NoBlockIsLeft) { EXPECT_THROW(BatchPlan(3, 1, 3, 1), UsageError); }

}  // namespace
}  // namespace tally
