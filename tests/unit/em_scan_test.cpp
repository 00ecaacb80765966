#include "algorithms/em_scan.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/agreement.hpp"
#include "core/error.hpp"
#include "tests/unit/conformance.hpp"

namespace tally {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

struct Way {
  int ranks;
  int threads;
  bool streamed;
  bool takes_missing = false;
};
constexpr Way ways[] = {{1, 1, false}, {1, 2, true}, {2, 1, true}, {3, 2, false}, {7, 1, false}};

struct Seen {
  Scan scan;
  std::vector<std::string> errors;  // of each rank
};

Seen look(const Table& table, Domain domain, const Way& way, Index sample_rows = 10,
          const std::vector<double>& labels = {}, Index components = 0) {
  Seen seen;
  seen.errors.resize(static_cast<std::size_t>(way.ranks));
  std::vector<Scan> scans(static_cast<std::size_t>(way.ranks));
  run_in_threads(way.ranks, [&](Communicator& communicator) {
    const auto rank = static_cast<std::size_t>(communicator.rank());
    IoExecutor io;
    const MemoryRows rows(table.matrix(), "x");
    const MemoryRows weights({table.weights.data(), table.rows(), 1}, "w");
    const MemoryRows given({labels.data(), table.rows(), 1}, "y");
    const BlockPlan plan = BlockPlan::uniform(table.rows(), 16);
    const BlockRange range = blocks_of_rank(plan, communicator.rank(), communicator.size());
    Shard::Options options;
    options.lanes = way.threads;
    options.memory_limit = way.streamed ? 1 : 0;
    options.takes_missing = way.takes_missing;
    Shard shard(io, {&rows, table.weights.empty() ? nullptr : &weights, labels.empty() ? nullptr : &given}, plan,
                {range.first, range.last}, options);
    try {
      scans[rank] = scan(shard, domain, sample_rows, 3, communicator, components);
    } catch (const DataError& error) {
      seen.errors[rank] = error.what();
    }
  });
  seen.scan = scans.front();
  for (const Scan& other : scans) {
    EXPECT_EQ(other.sample.values, seen.scan.sample.values);
    EXPECT_EQ(other.summary.mean, seen.scan.summary.mean);
    EXPECT_EQ(other.known.values, seen.scan.known.values);
  }
  return seen;
}

// 90 rows of two columns.
Table ordinary() {
  Table table{2, {}, {}};
  for (int i = 0; i < 90; ++i) {
    table.values.push_back(i);
    table.values.push_back(-0.5 * i + 7);
  }
  return table;
}

TEST(Scan, MeansExtremesAndWeightAreThoseOfTheData) {
  Table table = ordinary();
  table.weights.assign(90, 2.0);
  table.weights[89] = 0;
  for (const Way& way : ways) {
    const DataSummary summary = look(table, Domain::real, way).scan.summary;

    EXPECT_EQ(summary.rows, 90);
    EXPECT_EQ(summary.columns, 2);
    EXPECT_EQ(summary.total_weight, 178);
    EXPECT_EQ(summary.largest_weight, 2);
    EXPECT_THAT(summary.mean, ElementsAre(44, -15));
    EXPECT_THAT(summary.minimum, ElementsAre(0, -37));
    EXPECT_THAT(summary.maximum, ElementsAre(88, 7));
  }
}

TEST(Scan, MeansAreExactWhereDoublesCancel) {
  // In blocks of 16: 1e17, sixteen times 1, -1e17. Doubles in any order but one lose the ones.
  Table table{1, {}, {}};
  for (int i = 0; i < 48; ++i) table.values.push_back(i == 0 ? 1e17 : i == 47 ? -1e17 : i / 16 == 1 ? 1 : 0);
  for (const Way& way : ways) EXPECT_THAT(look(table, Domain::real, way).scan.summary.mean, ElementsAre(16.0 / 48));
}

TEST(Scan, TheSampleIsTheSameOnAnyRanks) {
  const Table table = ordinary();
  const Sample expected = look(table, Domain::real, ways[0]).scan.sample;

  EXPECT_GT(expected.size(), 5);
  EXPECT_LE(expected.size(), 10);
  for (const Way& way : ways) EXPECT_EQ(look(table, Domain::real, way).scan.sample.values, expected.values);
}

TEST(Scan, TheContentTellsEveryBitAndItsRowWhoeverHoldsIt) {
  Table table = ordinary();
  table.weights.assign(90, 1.0);
  const auto content = [](const Table& seen, const Way& way) { return look(seen, Domain::real, way).scan.content; };
  const std::uint64_t expected = content(table, ways[0]);
  Table nudged = table, swapped = table, weighted = table;
  nudged.values[100] = std::nextafter(nudged.values[100], infinity);
  std::swap(swapped.values[100], swapped.values[102]);
  std::swap(swapped.values[101], swapped.values[103]);
  weighted.weights[89] = 2;

  for (const Way& way : ways) EXPECT_EQ(content(table, way), expected);
  for (const Table& other : {nudged, swapped, weighted}) EXPECT_NE(content(other, ways[0]), expected);
}

TEST(Scan, ASampleOfAllRowsIsTheData) {
  const Table table = ordinary();
  for (const Way& way : ways) {
    const Scan whole = look(table, Domain::real, way, 90).scan;

    EXPECT_EQ(whole.sample.values, table.values);
    EXPECT_NEAR(whole.summary.variance[0], (90.0 * 90 - 1) / 12, 1e-9);
  }
}

// The ways, where a row of NaN alone is missing.
std::vector<Way> ways_with_missing_rows() {
  std::vector<Way> result(std::begin(ways), std::end(ways));
  for (Way& way : result) way.takes_missing = true;
  return result;
}

TEST(Scan, KnownRowsAreSomeOfEachLabelOnAnyRanks) {
  Table table = ordinary();
  table.weights.assign(90, 1.0);
  table.weights[40] = 0;
  std::vector<double> labels(90, -1);
  for (int i = 0; i < 60; ++i) labels[static_cast<std::size_t>(i)] = i % 2 ? 0 : 3;
  labels[40] = 1;  // of weight 0
  labels[80] = 2;
  const KnownRows expected = look(table, Domain::real, ways[0], 10, labels, 4).scan.known;

  const std::vector<Index>& components = expected.components;
  ASSERT_EQ(expected.values.size(), 2 * components.size());
  for (std::size_t n = 0; n < components.size(); ++n) {
    const auto row = static_cast<std::size_t>(expected.values[2 * n]);
    EXPECT_EQ(labels[row], static_cast<double>(components[n]));
    EXPECT_EQ(expected.values[2 * n + 1], table.values[2 * row + 1]);
  }
  EXPECT_TRUE(std::ranges::is_sorted(components));
  EXPECT_GT(std::ranges::count(components, 0), 8);  // of 30 rows in 16 places
  EXPECT_LE(std::ranges::count(components, 0), 16);
  EXPECT_EQ(std::ranges::count(components, 1), 0);
  EXPECT_EQ(std::ranges::count(components, 2), 1);
  for (const Way& way : ways) {
    const KnownRows known = look(table, Domain::real, way, 10, labels, 4).scan.known;
    EXPECT_EQ(known.values, expected.values);
    EXPECT_EQ(known.components, expected.components);
  }
}

TEST(Scan, MissingRowsCountAsRowsAlone) {
  Table table = ordinary();
  table.weights.assign(90, 2.0);
  table.weights[0] = 5;
  table.values[0] = table.values[1] = not_a_number;
  table.values[2 * 89] = table.values[2 * 89 + 1] = not_a_number;
  for (const Way& way : ways_with_missing_rows()) {
    const Scan scan = look(table, Domain::real, way, 90).scan;

    ASSERT_EQ(scan.sample.size(), 90);
    EXPECT_EQ(scan.summary.rows, 90);
    EXPECT_EQ(scan.summary.total_weight, 176);
    EXPECT_EQ(scan.summary.largest_weight, 5);
    EXPECT_THAT(scan.summary.mean, ElementsAre(44.5, -15.25));
    EXPECT_THAT(scan.summary.minimum, ElementsAre(1, -37));
    EXPECT_THAT(scan.summary.maximum, ElementsAre(88, 6.5));
    EXPECT_EQ(scan.sample.weights[0], 0);
    EXPECT_EQ(scan.sample.weights[1], 2);
    EXPECT_EQ(scan.sample.weights[89], 0);
    EXPECT_EQ(scan.sample.values[0], 0);
    EXPECT_NEAR(scan.summary.variance[0], (88.0 * 88 - 1) / 12, 1e-9);
  }
}

TEST(Scan, RowsMissingInPartAreRefused) {
  Table table = ordinary();
  table.values[2 * 20] = table.values[2 * 20 + 1] = table.values[2 * 50] = not_a_number;
  for (const Way& way : ways_with_missing_rows())
    for (const std::string& error : look(table, Domain::real, way).errors)
      EXPECT_EQ(error, "x row 50, column 0 is NaN (rows and columns are counted from 0); remove the row or fill the "
                       "value; a row of a sequence is missing only if all its values are NaN");
}

TEST(Scan, DataThatAreAllMissingAreRefused) {
  const Table table{2, std::vector<double>(40, not_a_number), {}};
  for (const Way& way : ways_with_missing_rows())
    for (const std::string& error : look(table, Domain::real, way).errors)
      EXPECT_THAT(error, HasSubstr("every row is missing or weighs 0"));
}

TEST(Scan, TheFirstBadRowIsNamedWhicheverRankHoldsIt) {
  struct Fault {
    Index row;
    double value;
    Domain domain;
    const char* words;
  };
  for (const Fault& fault : {Fault{20, not_a_number, Domain::real, "x row 20, column 1 is NaN"},
                             Fault{0, infinity, Domain::real, "x row 0, column 1 is infinite"},
                             Fault{50, -infinity, Domain::counts, "x row 50, column 1 is infinite"},
                             Fault{70, -3, Domain::counts, "x row 70, column 1 is negative"},
                             Fault{33, 2.5, Domain::counts, "x row 33, column 1 is not a whole number"},
                             Fault{33, 0.5, Domain::symbols(5), "x row 33, column 1 is not a whole number"},
                             Fault{25, -1e-300, Domain::not_negative, "x row 25, column 1 is negative (rows and columns are "
                                                                      "counted from 0); this model takes numbers from 0 on"},
                             Fault{26, 0, Domain::positive, "x row 26, column 1 is 0"},
                             Fault{60, 5, Domain::symbols(5), "x row 60, column 1 is above 4 (rows and columns are "
                                                              "counted from 0); this model takes whole numbers from 0 to 4"}}) {
    Table table{2, std::vector<double>(180, 4.0), {}};
    table.values[static_cast<std::size_t>(2 * fault.row + 1)] = fault.value;
    table.values[2 * 80] = table.values[2 * 89] = not_a_number;  // later ones
    for (const Way& way : ways)
      for (const std::string& error : look(table, fault.domain, way).errors) EXPECT_THAT(error, HasSubstr(fault.words));
  }
}

TEST(Scan, RowsOfAnotherLengthThanOneAreRefused) {
  Table table{2, {}, {}};
  for (int i = 0; i < 90; ++i) table.values.insert(table.values.end(), {0.6, i % 2 ? 0.8 : -0.8});
  for (const Way& way : ways) EXPECT_EQ(look(table, Domain::unit_vectors, way).scan.summary.rows, 90);
  table.values[2 * 33] = 0.6 + 1e-5;
  for (const Way& way : ways) EXPECT_EQ(look(table, Domain::unit_vectors, way).scan.summary.rows, 90);

  table.values[2 * 40] = 0.61;
  for (const Way& way : ways)
    for (const std::string& error : look(table, Domain::unit_vectors, way).errors)
      EXPECT_EQ(error, "x row 40 is no vector of length 1 (rows are counted from 0); divide each row by its Euclidean length");
}

TEST(Scan, MissingRowsNeedNoLengthAndNoSign) {
  Table table{2, {}, {}};
  for (int i = 0; i < 40; ++i) table.values.insert(table.values.end(), {0.6, 0.8});
  table.values[2 * 9] = table.values[2 * 9 + 1] = not_a_number;
  for (const Way& way : ways_with_missing_rows())
    for (const Domain domain : {Domain::unit_vectors, Domain::positive, Domain::not_negative})
      EXPECT_NEAR(look(table, domain, way).scan.summary.mean[1], 0.8, 1e-15);
}

TEST(Scan, ColumnsFromZeroAreScaledAndKeepTheirZeros) {
  Table table{3, {}, {}};
  for (int i = 0; i < 40; ++i) table.values.insert(table.values.end(), {1e200 * i, 1e-200 * i, 0});
  const DataSummary summary = look(table, Domain::not_negative, ways[0]).scan.summary;

  const Standardisation standardisation = standardise_for(Scaling::from_zero, summary);

  EXPECT_THAT(standardisation.centre, ElementsAre(0, 0, 0));
  EXPECT_EQ(standardisation.reference, summary.mean);
  for (const std::size_t d : {0u, 1u}) {
    EXPECT_LT(summary.maximum[d] * standardisation.scale(static_cast<Index>(d)), 1);
    EXPECT_GE(summary.maximum[d] * standardisation.scale(static_cast<Index>(d)), 0.5);
  }
  EXPECT_EQ(standardisation.exponent[2], 0);
}

TEST(Scan, TheLargestOfADomainIsTaken) {
  Table table{1, std::vector<double>(90, 4.0), {}};

  for (const Way& way : ways) EXPECT_THAT(look(table, Domain::symbols(5), way).scan.summary.maximum, ElementsAre(4));
}

TEST(Scan, ABadWeightIsNamed) {
  for (const double weight : {-1.0, not_a_number, infinity}) {
    Table table = ordinary();
    table.weights.assign(90, 1.0);
    table.weights[40] = weight;
    for (const Way& way : ways)
      for (const std::string& error : look(table, Domain::real, way).errors)
        EXPECT_THAT(error, AllOf(HasSubstr("w row 40"), HasSubstr("negative or not finite")));
  }
}

TEST(Scan, WeightsOfZeroAloneAreNothingToFit) {
  Table table = ordinary();
  table.weights.assign(90, 0.0);
  for (const Way& way : ways)
    for (const std::string& error : look(table, Domain::real, way).errors)
      EXPECT_THAT(error, HasSubstr("every weight is 0"));
}

TEST(Scan, ASumBeyondTheRangeOfDoublesIsAnError) {
  const Table table{1, std::vector<double>(90, 1e308), {}};
  for (const Way& way : ways)
    for (const std::string& error : look(table, Domain::real, way).errors)
      EXPECT_THAT(error, HasSubstr("column 0 overflows"));
}

TEST(Scan, HugeAndTinyColumnsAreStandardisedBelowOne) {
  Table table{3, {}, {}};
  for (int i = 0; i < 40; ++i) table.values.insert(table.values.end(), {1e200 * i, 1e-200 * i, 1e9 + i % 2});
  const DataSummary summary = look(table, Domain::real, ways[0]).scan.summary;

  const Standardisation own = standardise_for(Scaling::per_column, summary);
  const Standardisation common = standardise_for(Scaling::common, summary);

  for (Index d = 0; d < 3; ++d) {
    const auto c = static_cast<std::size_t>(d);
    const double reach = std::max(summary.maximum[c] - own.centre[c], own.centre[c] - summary.minimum[c]);
    EXPECT_LT(reach * own.scale(d), 1);
    EXPECT_GE(reach * own.scale(d), 0.5);
    EXPECT_LT(reach * common.scale(d), 1);
    EXPECT_EQ(common.exponent[c], common.exponent[0]);
    EXPECT_EQ(std::exp2(std::ilogb(own.scale(d))), own.scale(d));  // a power of two
  }
}

TEST(Scan, AConstantColumnStandardisesToZero) {
  Table table{1, std::vector<double>(90, 0.1), {}};
  const DataSummary summary = look(table, Domain::real, ways[0]).scan.summary;

  const Standardisation standardisation = standardise_for(Scaling::per_column, summary);

  EXPECT_EQ(standardisation.centre[0], 0.1);
  EXPECT_EQ(standardisation.exponent[0], 0);
}

TEST(SampleSize, IsEnoughForTheComponentsAndNeverMoreThanTheRows) {
  EXPECT_EQ(sample_size(100, 5, 3), 100);
  EXPECT_EQ(sample_size(1000000, 5, 3), 20000);
  EXPECT_EQ(sample_size(1000000, 5, 10000), 320000);
  EXPECT_LE(sample_size(1000000, 100000, 10) * 100000, Index{1} << 23);
}

}  // namespace
}  // namespace tally
