#include "core/block_plan.hpp"

#include <memory>
#include <vector>

#include <gtest/gtest.h>

namespace tally {
namespace {

BlockPlan plan_of(const std::vector<Index>& lengths, Index piece_steps, Index block_rows) {
  return BlockPlan::of_sequences(std::make_shared<Sequences>(Sequences::of_lengths(lengths)), piece_steps,
                                 block_rows);
}

std::vector<Index> first_rows(const BlockPlan& plan) {
  std::vector<Index> rows;
  for (Index block = 0; block < plan.block_count(); ++block) rows.push_back(plan.first_row(block));
  return rows;
}

TEST(BlockPlan, IndependentRowsHaveBlocksOfOneLength) {
  const BlockPlan plan = BlockPlan::uniform(1000, 64);

  EXPECT_EQ(plan.block_count(), 16);
  EXPECT_EQ(plan.total_rows(), 1000);
  EXPECT_EQ(plan.most_rows(), 64);
  EXPECT_EQ(plan.first_row(15), 960);
  EXPECT_EQ(plan.rows_of(14), 64);
  EXPECT_EQ(plan.rows_of(15), 40);
  EXPECT_EQ(plan.first_row(16), 1000);
  EXPECT_EQ(plan.block_of(959), 14);
  EXPECT_EQ(plan.block_of(960), 15);
  EXPECT_EQ(plan.sequences(), nullptr);
  EXPECT_TRUE(plan.pieces_of(0).empty());
}

TEST(BlockPlan, NoRowsAreNoBlocks) {
  EXPECT_EQ(BlockPlan::uniform(0, 64).block_count(), 0);
  EXPECT_EQ(plan_of({}, 4, 8).block_count(), 0);
  EXPECT_EQ(plan_of({}, 4, 8).total_rows(), 0);
}

TEST(BlockPlan, ShortSequencesArePackedWhole) {
  const BlockPlan plan = plan_of({3, 4, 1, 5, 5, 5}, 5, 8);

  EXPECT_EQ(first_rows(plan), (std::vector<Index>{0, 8, 13, 18}));
  EXPECT_EQ(plan.most_rows(), 8);
  EXPECT_EQ(plan.cut_piece_count(), 0);
  const std::vector<Piece> pieces = plan.pieces_of(0);
  ASSERT_EQ(pieces.size(), 3);
  EXPECT_EQ(pieces[1].first, 3);
  EXPECT_EQ(pieces[1].steps, 4);
  EXPECT_EQ(pieces[1].sequence, 1);
  EXPECT_EQ(pieces[2].first, 7);
  for (const Piece& piece : pieces) {
    EXPECT_TRUE(piece.begins && piece.ends);
    EXPECT_EQ(piece.number, -1);
  }
}

TEST(BlockPlan, LongSequencesAreCutIntoBlocksOfTheirOwn) {
  const BlockPlan plan = plan_of({2, 11, 2, 5}, 4, 9);  // two pieces of 4 to a block

  EXPECT_EQ(first_rows(plan), (std::vector<Index>{0, 2, 10, 13, 15}));
  EXPECT_EQ(plan.cut_piece_count(), 5);
  const std::vector<Piece> begun = plan.pieces_of(1), ended = plan.pieces_of(2), next = plan.pieces_of(4);
  ASSERT_EQ(begun.size(), 2);
  EXPECT_TRUE(begun[0].begins && !begun[0].ends);
  EXPECT_TRUE(!begun[1].begins && !begun[1].ends);
  EXPECT_EQ(begun[1].first, 4);
  EXPECT_EQ(begun[1].first_step, 4);
  EXPECT_EQ(begun[1].number, 1);
  ASSERT_EQ(ended.size(), 1);
  EXPECT_TRUE(!ended[0].begins && ended[0].ends);
  EXPECT_EQ(ended[0].steps, 3);
  EXPECT_EQ(ended[0].first_step, 8);
  EXPECT_EQ(ended[0].number, 2);
  ASSERT_EQ(next.size(), 2);
  EXPECT_EQ(next[0].sequence, 3);
  EXPECT_EQ(next[0].number, 3);
  EXPECT_EQ(next[1].steps, 1);
  EXPECT_EQ(next[1].number, 4);
  EXPECT_EQ(plan.cut_rows_of(1), 8);
  EXPECT_EQ(plan.cut_rows_of(3), 0);
}

TEST(BlockPlan, WholeSequencesBeyondABlockHaveOneToThemselves) {
  const BlockPlan plan = plan_of({3, 12, 3}, 12, 8);

  EXPECT_EQ(first_rows(plan), (std::vector<Index>{0, 3, 15}));
  EXPECT_EQ(plan.most_rows(), 12);
}

TEST(BlockPlan, PiecesLongerThanABlockHaveOneEach) {
  const BlockPlan plan = plan_of({30}, 12, 8);

  EXPECT_EQ(first_rows(plan), (std::vector<Index>{0, 12, 24}));
  EXPECT_EQ(plan.pieces_of(2).front().number, 2);
}

// Whatever the lengths: blocks hold every step once, in order; pieces obey their limits and are numbered in order.
TEST(BlockPlan, EveryStepLiesInOnePiece) {
  std::vector<Index> lengths;
  for (Index s = 0; s < 400; ++s) lengths.push_back(1 + (s * s * 7919) % 37 + (s % 50 == 7 ? 900 : 0));
  const Sequences sequences = Sequences::of_lengths(lengths);
  for (const Index piece_steps : {1, 5, 36, 64, 200, 5000})
    for (const Index block_rows : {1, 16, 64, 100}) {
      const BlockPlan plan = plan_of(lengths, piece_steps, block_rows);
      Index row = 0, number = 0;

      for (Index block = 0; block < plan.block_count(); ++block) {
        const std::vector<Piece> pieces = plan.pieces_of(block);
        EXPECT_EQ(plan.first_row(block), row);
        EXPECT_GT(plan.rows_of(block), 0);
        EXPECT_LE(plan.rows_of(block), plan.most_rows());
        EXPECT_TRUE(pieces.size() == 1 || plan.rows_of(block) <= block_rows);
        for (const Piece& piece : pieces) {
          EXPECT_EQ(plan.block_of(row), block);
          EXPECT_EQ(plan.first_row(block) + piece.first, row);
          EXPECT_EQ(sequences.first_row(piece.sequence) + piece.first_step, row);
          EXPECT_LE(piece.steps, piece_steps);
          EXPECT_EQ(piece.begins, piece.first_step == 0);
          EXPECT_EQ(piece.ends, piece.first_step + piece.steps == sequences.length(piece.sequence));
          const bool cut = sequences.length(piece.sequence) > piece_steps;
          EXPECT_EQ(piece.number, cut ? number++ : -1);
          row += piece.steps;
        }
      }

      EXPECT_EQ(row, sequences.rows());
      EXPECT_EQ(plan.total_rows(), row);
      EXPECT_EQ(plan.cut_piece_count(), number);
    }
}

}  // namespace
}  // namespace tally
