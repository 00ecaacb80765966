#include "core/shard.hpp"

#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.hpp"
#include "core/memory_rows.hpp"
#include "core/tile_reader.hpp"

namespace tally {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

constexpr Index width = 3, all_rows = 1000, block_rows = 64, blocks = 16;
const BlockPlan plan = BlockPlan::uniform(all_rows, block_rows);

// Row i holds i, i + 1/4 and -i; every reading of a row is counted.
class CountedRows final : public RowSource {
 public:
  explicit CountedRows(Index columns = width) : columns_(columns), reads_(all_rows) {}
  Index bad_row = -1;
  std::chrono::milliseconds delay{0};  // of each reading

  Index rows() const noexcept override { return all_rows; }
  Index columns() const noexcept override { return columns_; }
  bool fits_float() const noexcept override { return true; }
  void read(Index first, Index count, double* out) const override {
    if (delay.count() > 0) std::this_thread::sleep_for(delay);
    for (Index i = first; i < first + count; ++i) {
      if (i == bad_row) throw DataError("row " + std::to_string(i) + " cannot be read");
      ++reads_[static_cast<std::size_t>(i)];
      const auto value = static_cast<double>(i);
      const double all[] = {value, value + 0.25, -value};
      for (Index d = 0; d < columns_; ++d) out[(i - first) * columns_ + d] = all[d];
    }
  }
  std::string where(Index row) const override { return "row " + std::to_string(row); }
  std::string name() const override { return "counted rows"; }
  std::vector<int> reads(Index first, Index last) const {
    return {reads_.begin() + first, reads_.begin() + last};
  }

 private:
  Index columns_;
  mutable std::vector<int> reads_;
};

struct Way {
  bool resident;
  int lanes;
};

std::string words(const Way& way) {
  return (way.resident ? "Resident" : "Streamed") + std::to_string(way.lanes) + (way.lanes == 1 ? "Lane" : "Lanes");
}

class AnyShard : public ::testing::TestWithParam<Way> {
 protected:
  Shard::Options options(Precision precision = Precision::double_precision) const {
    Shard::Options result;
    result.memory_limit = GetParam().resident ? 0 : 1;
    result.lanes = GetParam().lanes;
    result.precision = precision;
    return result;
  }
  IoExecutor io;
  CountedRows x, weights{1}, given{2};
};

INSTANTIATE_TEST_SUITE_P(Ways, AnyShard,
                         ::testing::Values(Way{true, 1}, Way{true, 3}, Way{false, 1}, Way{false, 3}, Way{false, 20}),
                         [](const auto& tested) { return words(tested.param); });

TEST_P(AnyShard, EveryRowIsVisitedOnceWithItsWeightAndLabel) {
  Shard shard(io, {&x, &weights, &given}, plan, {0, blocks}, options());
  std::mutex mutex;
  for (int pass = 0; pass < 3; ++pass) {
    std::vector<int> seen(all_rows);

    shard.for_each_block(
        [&](int lane, const StoredBlock& block) {
          const std::lock_guard lock(mutex);
          EXPECT_LT(lane, GetParam().lanes);
          ASSERT_NE(block.raw, nullptr);
          for (Index i = 0; i < block.rows; ++i) {
            const Index row = block.first_row + i;
            const auto value = static_cast<double>(row);
            ++seen[static_cast<std::size_t>(row)];
            ASSERT_EQ(block.raw[i * width], value);
            ASSERT_EQ(block.raw[i * width + 2], -value);
            ASSERT_EQ(block.weights[i], value);
            ASSERT_EQ(block.given[i * 2 + 1], value + 0.25);
          }
        },
        [] {});

    EXPECT_THAT(seen, Each(1)) << "pass " << pass;
  }
}

TEST_P(AnyShard, BlocksMayDifferInLength) {
  const auto sequences = std::make_shared<Sequences>(Sequences::of_lengths({10, 20, 500, 1, 40, 400, 29}));
  const BlockPlan ragged = BlockPlan::of_sequences(sequences, 60, 64);
  Shard shard(io, {&x, &weights, &given}, ragged, {1, ragged.block_count()}, options());
  std::mutex mutex;
  for (int pass = 0; pass < 2; ++pass) {
    std::vector<int> seen(all_rows);

    shard.for_each_block(
        [&](int, const StoredBlock& block) {
          const std::lock_guard lock(mutex);
          EXPECT_EQ(block.first_row, ragged.first_row(block.number));
          EXPECT_EQ(block.rows, ragged.rows_of(block.number));
          for (Index i = 0; i < block.rows; ++i) {
            const Index row = block.first_row + i;
            const auto value = static_cast<double>(row);
            ++seen[static_cast<std::size_t>(row)];
            ASSERT_EQ(block.raw[i * width], value);
            ASSERT_EQ(block.weights[i], value);
            ASSERT_EQ(block.given[i * 2 + 1], value + 0.25);
          }
        },
        [] {});

    EXPECT_EQ(shard.first_row(), 30);
    EXPECT_THAT(std::vector<int>(seen.begin(), seen.begin() + 30), Each(0));
    EXPECT_THAT(std::vector<int>(seen.begin() + 30, seen.end()), Each(1));
  }
}

TEST_P(AnyShard, OnePassReadsEachRowOnceAndAResidentShardNeverAgain) {
  Shard shard(io, {&x, &weights, nullptr}, plan, {0, blocks}, options());
  const auto nothing = [](int, const StoredBlock&) {};

  shard.for_each_block(nothing, [] {});
  EXPECT_THAT(x.reads(0, all_rows), Each(1));

  shard.prepare({Standardisation::none(width), nullptr}, [] {});
  shard.for_each_block(nothing, [] {});
  shard.for_each_block(nothing, [] {});
  EXPECT_THAT(x.reads(0, all_rows), Each(GetParam().resident ? 1 : 3));
  EXPECT_THAT(weights.reads(0, all_rows), Each(GetParam().resident ? 1 : 3));
}

TEST_P(AnyShard, ARankReadsItsOwnBlocksAlone) {
  Shard shard(io, {&x, nullptr, nullptr}, plan, {10, blocks}, options());
  std::atomic<Index> visited = 0;

  shard.for_each_block([&](int, const StoredBlock& block) { visited += block.rows; }, [] {});

  EXPECT_EQ(shard.first_row(), 640);
  EXPECT_EQ(shard.local_rows(), 360);
  EXPECT_EQ(visited, 360);
  EXPECT_THAT(x.reads(0, 640), Each(0));
  EXPECT_THAT(x.reads(640, all_rows), Each(1));
}

TEST_P(AnyShard, AShardWithoutBlocksVisitsNone) {
  Shard shard(io, {&x, &weights, nullptr}, plan, {blocks, blocks}, options());

  shard.for_each_block([](int, const StoredBlock&) { FAIL() << "a block of nothing"; }, [] {});
  shard.prepare({Standardisation::none(width), nullptr}, [] {});
  shard.for_each_block([](int, const StoredBlock&) { FAIL() << "a block of nothing"; }, [] {});

  EXPECT_EQ(shard.local_rows(), 0);
}

TEST_P(AnyShard, WaitingForRowsIsTimed) {
  constexpr auto delay = std::chrono::milliseconds(10);  // far more than it takes to start lanes
  x.delay = delay;
  Shard shard(io, {&x, nullptr, nullptr}, plan, {0, blocks}, options());
  const double before = shard.read_seconds();
  const auto pass = [&] { shard.for_each_block([](int, const StoredBlock&) {}, [] {}); };

  pass();
  const double first = shard.read_seconds();
  pass();

  EXPECT_EQ(before, 0);
  // Lanes that do nothing wait for all that one thread reads.
  EXPECT_GT(first, 0.8 * blocks * std::chrono::duration<double>(delay).count());
  EXPECT_EQ(shard.read_seconds() > first, !GetParam().resident);
}

TEST_P(AnyShard, AReadErrorSurfaces) {
  x.bad_row = 777;
  Shard shard(io, {&x, nullptr, nullptr}, plan, {0, blocks}, options());

  for (int attempt = 0; attempt < 2; ++attempt) {
    std::string message;
    try {
      shard.for_each_block([](int, const StoredBlock&) {}, [] {});
    } catch (const DataError& error) {
      message = error.what();
    }
    EXPECT_THAT(message, HasSubstr("row 777 cannot be read"));
  }
}

TEST_P(AnyShard, AVisitorsErrorSurfacesAndThePassCanBeRepeated) {
  Shard shard(io, {&x, nullptr, nullptr}, plan, {0, blocks}, options());
  const auto throwing = [](int, const StoredBlock& block) {
    if (block.first_row == 3 * block_rows) throw DataError("block 3");
  };
  std::atomic<Index> visited = 0;

  EXPECT_THROW(shard.for_each_block(throwing, [] {}), DataError);
  shard.for_each_block([&](int, const StoredBlock& block) { visited += block.rows; }, [] {});
  EXPECT_THROW(shard.for_each_block(throwing, [] {}), DataError);

  EXPECT_EQ(visited, all_rows);
}

// Tiles of a prepared shard are the standardised rows, in double and in single, with the offsets of the raw ones.
template <class Real>
void expect_standardised_tiles(Shard& shard) {
  Preparation preparation{{{500, 0, 1}, {9, 10, 11}}, [](const double* row) { return row[0] / 2; }};
  const Standardisation to = preparation.standardisation;
  shard.prepare(preparation, [] {});
  std::mutex mutex;
  std::vector<int> seen(all_rows);

  shard.for_each_block(
      [&](int, const StoredBlock& block) {
        TileReader<Real> reader(*shard.preparation(), 20);
        reader.for_each_tile(block, 0, [&](const Tile<Real>& tile) {
          const std::lock_guard lock(mutex);
          for (Index i = 0; i < tile.rows(); ++i) {
            const auto value = static_cast<double>(tile.first_row + i);
            ++seen[static_cast<std::size_t>(tile.first_row + i)];
            const bool counts = value != 0;  // the weight of row i is i
            ASSERT_EQ(tile.x(i, 0), counts ? static_cast<Real>(std::ldexp(value - to.centre[0], -9)) : 0);
            ASSERT_EQ(tile.x(i, 1), counts ? static_cast<Real>(std::ldexp(value + 0.25, -10)) : 0);
            ASSERT_EQ(tile.x(i, 2), counts ? static_cast<Real>(std::ldexp(-value - 1, -11)) : 0);
            ASSERT_EQ(tile.offsets[i], value / 2);
            ASSERT_EQ(tile.weights[i], value);
          }
        });
      },
      [] {});

  EXPECT_THAT(seen, Each(1));
}

TEST_P(AnyShard, PreparedTilesAreStandardised) {
  Shard in_double(io, {&x, &weights, nullptr}, plan, {0, blocks}, options());
  Shard in_single(io, {&x, &weights, nullptr}, plan, {0, blocks}, options(Precision::single_precision));

  expect_standardised_tiles<double>(in_double);
  expect_standardised_tiles<float>(in_single);
}

// Rows of NaN alone every ten rows, and others that are NaN in part.
class GappyRows final : public RowSource {
 public:
  static bool is_missing(Index row) { return row % 10 == 3; }

  Index rows() const noexcept override { return all_rows; }
  Index columns() const noexcept override { return width; }
  bool fits_float() const noexcept override { return true; }
  void read(Index first, Index count, double* out) const override {
    constexpr double gap = std::numeric_limits<double>::quiet_NaN();
    for (Index i = first; i < first + count; ++i)
      for (Index d = 0; d < width; ++d)
        *out++ = is_missing(i) || (i % 10 == 5 && d == 1) ? gap : static_cast<double>(i + d);
  }
  std::string where(Index row) const override { return "row " + std::to_string(row); }
  std::string name() const override { return "gappy rows"; }
};

// Missing rows are marked and hold zeros, before and after standardisation; all others are as they were read.
template <class Real>
void expect_zeros_for_missing_rows(Shard& shard) {
  std::atomic<Index> marked = 0;
  const auto is_marked = [&](const unsigned char* missing, Index i, Index row) {
    const bool mark = missing && missing[i];
    EXPECT_EQ(mark, GappyRows::is_missing(row)) << "row " << row;
    marked += mark;
    return mark;
  };

  shard.for_each_block(
      [&](int, const StoredBlock& block) {
        for (Index i = 0; i < block.rows; ++i) {
          const double* row = block.raw + i * width;
          const Index number = block.first_row + i;
          const bool missing = is_marked(block.missing, i, number);
          EXPECT_EQ(row[0], missing ? 0 : static_cast<double>(number));
          EXPECT_EQ(std::isnan(row[1]), number % 10 == 5);
        }
      },
      [] {});
  EXPECT_EQ(marked, all_rows / 10);

  shard.prepare({{{500, 0, 1}, {9, 10, 11}}, [](const double* row) { return row[0] + 1; }}, [] {});
  shard.for_each_block(
      [&](int, const StoredBlock& block) {
        TileReader<Real> reader(*shard.preparation(), 20);
        reader.for_each_tile(block, 0, [&](const Tile<Real>& tile) {
          for (Index i = 0; i < tile.rows(); ++i) {
            const Index number = tile.first_row + i;
            const auto value = static_cast<double>(number);
            const bool missing = is_marked(tile.missing, i, number);
            EXPECT_EQ(tile.x(i, 0), missing ? 0 : static_cast<Real>(std::ldexp(value - 500, -9)));
            EXPECT_EQ(tile.x(i, 2), missing ? 0 : static_cast<Real>(std::ldexp(value + 1, -11)));
            EXPECT_EQ(tile.offsets[i], missing ? 0 : value + 1);
          }
        });
      },
      [] {});
  EXPECT_EQ(marked, 2 * all_rows / 10);
}

TEST_P(AnyShard, MissingRowsAreMarkedZeros) {
  const GappyRows gappy;
  Shard::Options in_double = options(), in_single = options(Precision::single_precision);
  in_double.takes_missing = in_single.takes_missing = true;
  Shard of_doubles(io, {&gappy, nullptr, nullptr}, plan, {0, blocks}, in_double);
  Shard of_floats(io, {&gappy, nullptr, nullptr}, plan, {0, blocks}, in_single);

  expect_zeros_for_missing_rows<double>(of_doubles);
  expect_zeros_for_missing_rows<float>(of_floats);
}

TEST_P(AnyShard, RowsOfNaNStayWhereNoneMayBeMissing) {
  const GappyRows gappy;
  Shard shard(io, {&gappy, nullptr, nullptr}, plan, {0, blocks}, options());

  shard.for_each_block(
      [](int, const StoredBlock& block) {
        EXPECT_EQ(block.missing, nullptr);
        for (Index i = 0; i < block.rows; ++i)
          EXPECT_EQ(std::isnan(block.raw[i * width]), GappyRows::is_missing(block.first_row + i));
      },
      [] {});
}

TEST(Shard, BlocksWithoutMissingRowsHaveNoMarks) {
  IoExecutor io;
  const CountedRows x;
  Shard::Options takes_missing;
  takes_missing.takes_missing = true;
  Shard shard(io, {&x, nullptr, nullptr}, plan, {0, blocks}, takes_missing);

  for (int pass = 0; pass < 2; ++pass)
    shard.for_each_block([](int, const StoredBlock& block) { EXPECT_EQ(block.missing, nullptr); }, [] {});
}

TEST(Shard, MarksOfMissingRowsCountAsMemory) {
  Shard::Options marked;
  marked.takes_missing = true;

  EXPECT_EQ(Shard::resident_bytes(10, width, true, 0, marked) - Shard::resident_bytes(10, width, true, 0, {}), 10);
  EXPECT_EQ(Shard::streaming_bytes(10, width, true, 0, marked) - Shard::streaming_bytes(10, width, true, 0, {}), 30);
}

TEST(Shard, WhatPulseThrowsEndsThePass) {
  IoExecutor io;
  const CountedRows x;
  Shard shard(io, {&x, nullptr, nullptr}, plan, {0, blocks}, {});
  const auto slow = [](int, const StoredBlock&) { std::this_thread::sleep_for(std::chrono::milliseconds(10)); };

  EXPECT_THROW(shard.for_each_block(slow, [] { throw CommunicationError("a peer is lost"); }), CommunicationError);
}

TEST(Shard, RowsStayInMemoryExactlyWhereTheyFit) {
  IoExecutor io;
  const CountedRows x;
  const Index needed = Shard::resident_bytes(all_rows, width, false, 0, {});
  Shard::Options enough, too_little;
  enough.memory_limit = needed;
  too_little.memory_limit = needed - 1;

  EXPECT_TRUE(Shard(io, {&x, nullptr, nullptr}, plan, {0, blocks}, enough).resident());
  EXPECT_FALSE(Shard(io, {&x, nullptr, nullptr}, plan, {0, blocks}, too_little).resident());
}

TEST(Shard, WhatWasGivenCanBeForgotten) {
  IoExecutor io;
  const CountedRows x, given(1);
  Shard shard(io, {&x, nullptr, &given}, plan, {0, blocks}, {});
  shard.for_each_block([](int, const StoredBlock& block) { EXPECT_NE(block.given, nullptr); }, [] {});

  shard.forget_given();

  shard.for_each_block([](int, const StoredBlock& block) { EXPECT_EQ(block.given, nullptr); }, [] {});
  EXPECT_EQ(shard.given_columns(), 0);
}

}  // namespace
}  // namespace tally
