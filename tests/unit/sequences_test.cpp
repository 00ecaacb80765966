#include "core/sequences.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.hpp"

namespace tally {
namespace {

std::string refusal(const std::vector<Index>& lengths) {
  try {
    Sequences::of_lengths(lengths);
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

TEST(Sequences, LieEndToEnd) {
  const Sequences sequences = Sequences::of_lengths({3, 1, 4});

  EXPECT_EQ(sequences.count(), 3);
  EXPECT_EQ(sequences.rows(), 8);
  EXPECT_EQ(sequences.first_row(0), 0);
  EXPECT_EQ(sequences.first_row(1), 3);
  EXPECT_EQ(sequences.first_row(2), 4);
  EXPECT_EQ(sequences.length(1), 1);
  EXPECT_EQ(sequences.length(2), 4);
}

TEST(Sequences, EveryRowIsAStepOfOne) {
  const Sequences sequences = Sequences::of_lengths({3, 1, 4});
  std::vector<Index> found;

  for (Index row = 0; row < sequences.rows(); ++row) found.push_back(sequences.sequence_of(row));

  EXPECT_EQ(found, (std::vector<Index>{0, 0, 0, 1, 2, 2, 2, 2}));
}

TEST(Sequences, AllRowsCanBeOne) {
  const Sequences sequences = Sequences::one(7);

  EXPECT_EQ(sequences.count(), 1);
  EXPECT_EQ(sequences.length(0), 7);
  EXPECT_EQ(sequences.sequence_of(6), 0);
}

TEST(Sequences, ThoseWithoutStepsAreRefusedByNumber) {
  EXPECT_EQ(refusal({5, 2, 9, 0, -1}), "sequence 3 is empty (sequences are counted from 0)");
  EXPECT_EQ(refusal({5, -2, 0}), "sequence 1 has a negative length (sequences are counted from 0)");
}

TEST(Sequences, MoreRowsThanNumbersAreRefused) {
  constexpr Index half = Index{1} << 62;

  EXPECT_EQ(Sequences::of_lengths({half, half - 1}).rows(), 2 * (half - 1) + 1);
  EXPECT_EQ(refusal({half, half - 1, 1}),
            "the sequences up to number 2 (counted from 0) have more steps than can be counted");
}

TEST(Sequences, RowsBeyond32BitsAreExact) {
  const Sequences sequences = Sequences::of_lengths({Index{1} << 40, Index{1} << 40, 5});

  EXPECT_EQ(sequences.first_row(2), Index{1} << 41);
  EXPECT_EQ(sequences.sequence_of((Index{1} << 40) - 1), 0);
  EXPECT_EQ(sequences.sequence_of(Index{1} << 40), 1);
}

}  // namespace
}  // namespace tally
