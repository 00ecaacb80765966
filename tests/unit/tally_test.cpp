#include "algorithms/tally.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/philox.hpp"

namespace tally {
namespace {

using ::testing::ElementsAre;

Layout two_fields() {
  Layout layout;
  layout.add("counts", {2}).add("moments", {2, 2});
  return layout;
}

std::vector<Grid> grids() { return {make_grid(4, 10), make_grid(1000, 10)}; }

std::vector<double> statistics_of(const Tally& tally, int candidate) {
  std::vector<double> out(6);
  tally.statistics(candidate, out);
  return out;
}

// Blocks of awkward numbers: an objective and six statistics each.
struct Block {
  double objective;
  std::vector<double> statistics;
};
std::vector<Block> awkward_blocks(int count) {
  std::vector<Block> blocks;
  for (int b = 0; b < count; ++b) {
    Block block{normal({3, 1}, static_cast<std::uint64_t>(b), 0) * std::pow(10.0, b % 30), {}};
    for (std::uint32_t i = 0; i < 6; ++i)
      block.statistics.push_back(normal({3, 2}, static_cast<std::uint64_t>(b), i) * std::pow(0.1, b % 7));
    blocks.push_back(std::move(block));
  }
  return blocks;
}

TEST(Tally, AddsWhatBlocksBring) {
  const Layout layout = two_fields();
  Tally tally(2, layout, grids());

  tally.add_block(0, -1.5, std::vector<double>{1, 2, 10, 20, 30, 40});
  tally.add_block(0, -2.5, std::vector<double>{0.5, 0, -10, 0.25, 0, 1});
  tally.add_block(1, 7, std::vector<double>{0, 0, 0, 0, 0, -900});
  tally.add_rows(64);
  tally.add_rows(3);
  tally.carry();

  EXPECT_EQ(tally.objective(0), -4);
  EXPECT_EQ(tally.objective(1), 7);
  EXPECT_THAT(statistics_of(tally, 0), ElementsAre(1.5, 2, 0, 20.25, 30, 41));
  EXPECT_THAT(statistics_of(tally, 1), ElementsAre(0, 0, 0, 0, 0, -900));
  EXPECT_EQ(tally.counter(Tally::rows), 67);
}

TEST(Tally, LanesAndRanksMayCutTheBlocksAnyhow) {
  const Layout layout = two_fields();
  const auto blocks = awkward_blocks(200);
  // `owners` tallies take the blocks in turn, from the last to the first where `backwards`; then they are merged as
  // lanes, or added element by element as ranks.
  const auto sum = [&](int owners, bool backwards, bool as_ranks) {
    std::vector<Tally> tallies(static_cast<std::size_t>(owners), Tally(1, layout, grids()));
    for (std::size_t b = 0; b < blocks.size(); ++b) {
      const Block& block = blocks[backwards ? blocks.size() - 1 - b : b];
      tallies[b % tallies.size()].add_block(0, block.objective, block.statistics);
    }
    Tally& whole = tallies.front();
    whole.carry();
    for (std::size_t o = 1; o < tallies.size(); ++o) {
      if (!as_ranks) {
        whole.merge(tallies[o]);
        continue;
      }
      tallies[o].carry();
      for (std::size_t i = 0; i < whole.buffer().size(); ++i) whole.buffer()[i] += tallies[o].buffer()[i];
    }
    whole.carry();
    std::vector<double> result = statistics_of(whole, 0);
    result.push_back(whole.objective(0));
    return result;
  };

  const auto expected = sum(1, false, false);

  for (const int owners : {1, 2, 3, 7})
    for (const bool backwards : {false, true})
      for (const bool as_ranks : {false, true}) EXPECT_EQ(sum(owners, backwards, as_ranks), expected);
}

TEST(Tally, AValueBeyondItsGridIsReportedAndTheExponentItNeeds) {
  const Layout layout = two_fields();
  Tally tally(1, layout, grids());

  tally.add_block(0, 0, std::vector<double>{0, 0, 0, 0, 0, 5000});
  tally.carry();

  EXPECT_EQ(tally.counter(Tally::misfits), 1);
  EXPECT_EQ(tally.non_finite(0), 0);
  EXPECT_EQ(tally.reports()[1].largest_exponent, 13);
  EXPECT_LE(tally.reports()[0].largest_exponent, grids()[0].exponent);
}

TEST(Tally, WhatOneLaneReportsSurvivesTheMerge) {
  const Layout layout = two_fields();
  Tally whole(1, layout, grids()), lane(1, layout, grids());

  lane.add_block(0, std::numeric_limits<double>::quiet_NaN(), std::vector<double>{0, 0, 0, 0, 0, 5000});
  lane.add_rows(5);
  whole.merge(lane);

  EXPECT_EQ(whole.counter(Tally::misfits), 1);
  EXPECT_EQ(whole.non_finite(0), 1);
  EXPECT_EQ(whole.counter(Tally::rows), 5);
  EXPECT_EQ(whole.reports()[1].largest_exponent, 13);
}

TEST(Tally, ResetForgetsEverything) {
  const Layout layout = two_fields();
  Tally tally(1, layout, grids());
  tally.add_block(0, 3, std::vector<double>{1, 1, 1, 1, 1, 5000});
  tally.counter(Tally::failures) = 1;
  tally.carry();

  tally.reset();
  tally.carry();

  EXPECT_EQ(std::ranges::count(tally.buffer(), 0), static_cast<std::ptrdiff_t>(tally.buffer().size()));
  EXPECT_EQ(tally.objective(0), 0);
  EXPECT_TRUE(tally.reports()[1].all_added());
}

TEST(Tally, MillionsOfBlocksOverflowNoLimb) {
  const Layout layout = Layout().add("sum", {1});
  Tally tally(1, layout, {Grid{1, 24}});
  // Fills the low limb by 7/16 of what it may hold once carried.
  const std::vector<double> value = {0.5 + 0x7p-41};
  constexpr int additions = 1 << 23;

  for (int i = 0; i < additions; ++i) tally.add_block(0, 0, value);
  tally.carry();

  double sum = 0;
  tally.statistics(0, std::span(&sum, 1));
  EXPECT_EQ(sum, additions * value[0]);
}

TEST(Tally, TheObjectiveHasNoBound) {
  const Layout layout = two_fields();
  Tally tally(1, layout, grids());
  const std::vector<double> nothing(6, 0.0);

  for (const double value : {1e300, 1e-300, 1.0, -1e300}) tally.add_block(0, value, nothing);
  tally.carry();

  EXPECT_EQ(tally.objective(0), 1.0);
  EXPECT_EQ(tally.counter(Tally::misfits), 0);
}

}  // namespace
}  // namespace tally
