#include "comm/partition.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/philox.hpp"

namespace tally {
namespace {

TEST(Partition, RanksTakeAllBlocksOnceInOrder) {
  for (const Index blocks : {0, 1, 2, 3, 7, 50, 1001}) {
    for (int size = 1; size <= 9; ++size) {
      Index next = 0;

      for (int rank = 0; rank < size; ++rank) {
        const BlockRange range = blocks_of_rank(blocks, rank, size);
        EXPECT_EQ(range.first, next);
        EXPECT_LE(range.first, range.last);
        next = range.last;
      }

      EXPECT_EQ(next, blocks);
    }
  }
}

TEST(Partition, SharesDifferByOneBlockAtMost) {
  for (const Index blocks : {0, 1, 5, 64, 65, 127, 1000}) {
    for (int size = 1; size <= 70; ++size) {
      for (int rank = 0; rank < size; ++rank) {
        const Index count = blocks_of_rank(blocks, rank, size).count();

        EXPECT_GE(count, blocks / size);
        EXPECT_LE(count, (blocks + size - 1) / size);
      }
    }
  }
}

TEST(Partition, RanksBeyondTheBlocksHaveNone) {
  EXPECT_EQ(blocks_of_rank(2, 0, 4), (BlockRange{0, 1}));
  EXPECT_EQ(blocks_of_rank(2, 1, 4), (BlockRange{1, 2}));
  EXPECT_EQ(blocks_of_rank(2, 2, 4), (BlockRange{2, 2}));
  EXPECT_EQ(blocks_of_rank(2, 3, 4), (BlockRange{2, 2}));
}

TEST(Partition, BlockNumbersBeyond32BitsAreExact) {
  const Index blocks = (Index{1} << 62) + 3;

  EXPECT_EQ(blocks_of_rank(blocks, 3, 4).last, blocks);
  EXPECT_EQ(blocks_of_rank(blocks, 3, 4).count(), Index{1} << 60);
}

BlockPlan plan_of(const std::vector<Index>& lengths, Index piece_steps, Index block_rows) {
  return BlockPlan::of_sequences(std::make_shared<Sequences>(Sequences::of_lengths(lengths)), piece_steps, block_rows);
}

// Log-normal lengths from 1 step on, half of them below 300.
std::vector<Index> ragged_lengths(std::uint64_t seed) {
  constexpr Index count = 6000;
  constexpr double median = 300, spread = 1;
  std::vector<Index> lengths;
  for (Index s = 0; s < count; ++s) {
    const double z = normal({seed, 0}, static_cast<std::uint64_t>(s), 0);
    lengths.push_back(1 + static_cast<Index>(median * std::exp(spread * z)));
  }
  return lengths;
}

// How much more work than the mean the busiest rank has.
double imbalance(const BlockPlan& plan, int size, RowWork work) {
  Index most = 0, all = 0, next = 0;
  for (int rank = 0; rank < size; ++rank) {
    const BlockRange range = blocks_of_rank(plan, rank, size, work);
    EXPECT_EQ(range.first, next);
    next = range.last;
    Index mine = 0;
    for (Index block = range.first; block < range.last; ++block) {
      const Index cut = plan.cut_rows_of(block);
      mine += (plan.rows_of(block) - cut) * work.whole + cut * work.cut;
    }
    most = std::max(most, mine);
    all += mine;
  }
  EXPECT_EQ(next, plan.block_count());
  return static_cast<double>(most) * size / static_cast<double>(all) - 1;
}

TEST(Partition, IndependentRowsAreSharedOutByBlocks) {
  const BlockPlan plan = BlockPlan::uniform(1000, 64);
  for (const int size : {1, 3, 7, 20})
    for (int rank = 0; rank < size; ++rank)
      EXPECT_EQ(blocks_of_rank(plan, rank, size), blocks_of_rank(plan.block_count(), rank, size));
}

TEST(Partition, RanksHaveTheSameWorkOfRaggedSequences) {
  constexpr double allowed = 0.05;
  for (const std::uint64_t seed : {1, 2, 3}) {
    const std::vector<Index> lengths = ragged_lengths(seed);
    for (const RowWork work : {RowWork{1, 1}, RowWork{1, 4}})
      for (int size = 2; size <= 16; ++size) {
        EXPECT_LT(imbalance(plan_of(lengths, 4096, 4096), size, work), allowed) << size << " ranks, whole sequences";
        EXPECT_LT(imbalance(plan_of(lengths, 512, 2048), size, work), allowed) << size << " ranks, cut sequences";
      }
  }
}

TEST(Partition, RowsOfCutSequencesMayWeighMore) {
  const BlockPlan plan = plan_of({4, 4, 4, 4, 8}, 4, 4);  // six blocks of four rows, the last two of one sequence

  EXPECT_EQ(blocks_of_rank(plan, 0, 2), (BlockRange{0, 3}));
  EXPECT_EQ(blocks_of_rank(plan, 0, 2, {1, 2}), (BlockRange{0, 4}));
  EXPECT_EQ(blocks_of_rank(plan, 1, 2, {1, 2}), (BlockRange{4, 6}));
}

TEST(Partition, PartsOfARoundAreSharedOut) {
  const BlockPlan plan = plan_of({4, 4, 4, 4, 8}, 4, 4);

  EXPECT_EQ(blocks_of_rank(plan, {1, 5}, 0, 2), (BlockRange{1, 3}));
  EXPECT_EQ(blocks_of_rank(plan, {1, 5}, 1, 2), (BlockRange{3, 5}));
  EXPECT_EQ(blocks_of_rank(BlockPlan::uniform(60, 10), {1, 5}, 1, 2), (BlockRange{3, 5}));
}

TEST(Partition, RanksBeyondTheBlocksOfSequencesHaveNone) {
  const BlockPlan plan = plan_of({5, 7}, 8, 8);

  EXPECT_EQ(blocks_of_rank(plan, 0, 4), (BlockRange{0, 1}));
  EXPECT_EQ(blocks_of_rank(plan, 1, 4), (BlockRange{1, 2}));
  EXPECT_EQ(blocks_of_rank(plan, 2, 4).count(), 0);
  EXPECT_EQ(blocks_of_rank(plan, 3, 4), (BlockRange{2, 2}));
  EXPECT_EQ(blocks_of_rank(plan_of({}, 8, 8), 1, 4), (BlockRange{0, 0}));
}

}  // namespace
}  // namespace tally
