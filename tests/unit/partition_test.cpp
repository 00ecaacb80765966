#include "comm/partition.hpp"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace tally
