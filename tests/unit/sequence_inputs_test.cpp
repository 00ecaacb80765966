#include "launch/sequence_inputs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/hdf5_rows.hpp"
#include "core/io_executor.hpp"
#include "core/memory_rows.hpp"
#include "tests/unit/message_of.hpp"
#include "tests/unit/temporary_folder.hpp"

namespace tally {
namespace {

class SequenceInputs : public ::testing::Test {
 protected:
  // Writes a column of numbers and names it.
  std::string column(const std::vector<double>& numbers, Hdf5RowWriter::Type type = Hdf5RowWriter::Type::int64) {
    return table(numbers, 0, type);
  }
  std::string table(const std::vector<double>& numbers, Index columns, Hdf5RowWriter::Type type) {
    const Index rows = static_cast<Index>(numbers.size()) / std::max<Index>(columns, 1);
    Hdf5RowWriter writer(io, folder.file("lengths.h5"), "/lengths", rows, columns, type);
    writer.append(numbers.data(), rows);
    writer.finish();
    return folder.file("lengths.h5") + ":/lengths";
  }
  std::string refusal(const std::string& name) {
    std::string message = message_of<DataError>([&] { read_lengths(io, name, x.rows(), x.name()); });
    const auto at = message.find("lengths.h5");
    return at == std::string::npos ? message : message.substr(at);
  }

  TemporaryFolder folder;
  IoExecutor io;
  std::vector<double> values = std::vector<double>(100);
  MemoryRows x{MatrixView<const double>(values.data(), 100, 1), "x.h5:/x"};
};

TEST_F(SequenceInputs, LengthsSayWhereSequencesLie) {
  const auto sequences = read_lengths(io, column({10, 1, 89}), x.rows(), x.name());

  EXPECT_EQ(sequences->count(), 3);
  EXPECT_EQ(sequences->first_row(2), 11);
  EXPECT_EQ(sequences->rows(), 100);
}

TEST_F(SequenceInputs, WholeNumbersInDoublesAreLengths) {
  EXPECT_EQ(read_lengths(io, column({40, 60}, Hdf5RowWriter::Type::float64), x.rows(), x.name())->count(), 2);
}

TEST_F(SequenceInputs, LengthsMustSumToTheRows) {
  EXPECT_EQ(refusal(column({50, 40})),
            "lengths.h5:/lengths sums to 90 steps but x.h5:/x has 100 rows; every row is a step of one sequence");
  EXPECT_EQ(refusal(column({})),
            "lengths.h5:/lengths sums to 0 steps but x.h5:/x has 100 rows; every row is a step of one sequence");
}

TEST_F(SequenceInputs, LengthsBeyondAllNumbersOfRowsAreRefused) {
  const std::vector<double> huge(2000, 9007199254740992.0);  // their sum exceeds 64 bits
  EXPECT_NE(refusal(column(huge)).find("sums to 18014398509481984000 steps"), std::string::npos);
}

TEST_F(SequenceInputs, EmptySequencesAreRefusedByName) {
  EXPECT_EQ(refusal(column({50, 50, 0})),
            "lengths.h5:/lengths row 2 is 0: sequence 2 is empty (sequences are counted from 0)");
  EXPECT_EQ(refusal(column({101, -1})),
            "lengths.h5:/lengths row 1 is -1: sequence 1 has a negative length (sequences are counted from 0)");
}

TEST_F(SequenceInputs, WhatIsNoWholeNumberIsRefused) {
  const auto type = Hdf5RowWriter::Type::float64;
  EXPECT_EQ(refusal(column({50, 49.5, 0.5}, type)),
            "lengths.h5:/lengths row 1 is 49.5: sequence 1 has no whole number of steps (sequences are counted from 0)");
  EXPECT_EQ(refusal(column({std::numeric_limits<double>::quiet_NaN()}, type)),
            "lengths.h5:/lengths row 0 is nan: sequence 0 has no whole number of steps (sequences are counted from 0)");
  EXPECT_EQ(refusal(column({1e300}, type)),
            "lengths.h5:/lengths row 0 is 1e+300: sequence 0 has no whole number of steps (sequences are counted from 0)");
}

TEST_F(SequenceInputs, LengthsOfSeveralColumnsAreRefused) {
  EXPECT_EQ(refusal(table({50, 50}, 2, Hdf5RowWriter::Type::int64)),
            "lengths.h5:/lengths has 2 columns; lengths of sequences are one column of whole numbers");
}

TEST_F(SequenceInputs, EveryStepHasTheWeightOfItsSequence) {
  const auto sequences = std::make_shared<Sequences>(Sequences::of_lengths({2, 1, 3}));
  const auto name = column({0.5, 7, 2}, Hdf5RowWriter::Type::float64);
  const SequenceWeights weights(std::make_unique<Hdf5Rows>(io, std::vector{name}), sequences);
  const std::vector<double> expected = {0.5, 0.5, 7, 2, 2, 2};

  EXPECT_EQ(weights.rows(), 6);
  EXPECT_EQ(weights.columns(), 1);
  for (Index first = 0; first < 6; ++first)
    for (Index count = 0; count <= 6 - first; ++count) {
      std::vector<double> read(static_cast<std::size_t>(count));
      weights.read(first, count, read.data());
      EXPECT_EQ(read, std::vector<double>(expected.begin() + first, expected.begin() + first + count));
    }
  EXPECT_EQ(weights.where(4), name + " row 2");
}

TEST_F(SequenceInputs, WeightsAreOneForEachSequence) {
  const auto sequences = std::make_shared<Sequences>(Sequences::of_lengths({2, 1, 3}));
  const auto weigh = [&](const std::string& name) {
    return message_of<DataError>([&] {
      const SequenceWeights weights(std::make_unique<Hdf5Rows>(io, std::vector{name}), sequences);
    });
  };
  EXPECT_NE(weigh(column({1, 2, 3, 4, 5, 6})).find("has 6 rows of 1 weights but there are 3 sequences"),
            std::string::npos);
  EXPECT_NE(weigh(table({1, 2, 3, 4, 5, 6}, 2, Hdf5RowWriter::Type::float64)).find("has 3 rows of 2 weights"),
            std::string::npos);
}

}  // namespace
}  // namespace tally
