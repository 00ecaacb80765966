#include "launch/bench/scaling.hpp"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.hpp"
#include "launch/svg.hpp"

namespace tally::bench {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A run whose second iteration, on two ranks, took these seconds; the first one counts for nothing.
ScalingRun run_of(double compute_0, double compute_1) {
  ScalingRun run;
  run.rows = 100;
  for (const double compute : {compute_0, compute_1}) {
    IterationTimes times;
    times.whole = 10;
    times.compute = compute;
    times.read = 1;
    times.allreduce = 0.5;
    times.wait = 7 - compute;
    times.maximize = 1;
    times.processor = compute;
    IterationTimes first = times;
    first.whole = 99;
    run.ranks.push_back({"host", 0, {first, times}});
  }
  return run;
}

TEST(BenchScaling, APointIsTheSplitAndTheImbalance) {
  const std::vector<ScalingRun> runs = {run_of(3, 5), run_of(3, 5)};
  std::vector<double> seconds, processor;

  const ScalingPoint point = point_of(runs, &seconds, &processor);

  EXPECT_EQ(point.ranks, 2);
  EXPECT_EQ(point.seconds.median, 10);
  EXPECT_THAT(seconds, ElementsAre(10, 10));
  EXPECT_THAT(processor, ElementsAre(5, 5));
  EXPECT_EQ(point.processor, 5);
  EXPECT_THAT(point.split, ElementsAre(1, 4, 3, 0.5, 1, 0.5));
  EXPECT_DOUBLE_EQ(point.imbalance, 6.0 / 5 - 1);  // reading and computing: 4 and 6
}

TEST(BenchScaling, EfficiencyIsAgainstTheFirstPoint) {
  const auto point = [](int ranks, Index rows, double median) {
    ScalingPoint result;
    result.ranks = ranks;
    result.rows = rows;
    result.seconds.median = median;
    result.processor = median / 2;
    return result;
  };
  std::vector<ScalingPoint> strong = {point(2, 100, 8), point(4, 100, 5)},
                            weak = {point(1, 100, 8), point(4, 400, 10)};

  compare_with_first(strong);
  compare_with_first(weak);

  EXPECT_THAT((std::vector{strong[0].speedup, strong[1].speedup}), ElementsAre(2, DoubleEq(3.2)));
  EXPECT_THAT((std::vector{strong[0].efficiency, strong[1].efficiency}), ElementsAre(1, DoubleEq(0.8)));
  EXPECT_THAT((std::vector{weak[0].speedup, weak[1].speedup}), ElementsAre(1, DoubleEq(3.2)));
  EXPECT_DOUBLE_EQ(strong[1].efficiency_by_processor, 0.8);
  EXPECT_DOUBLE_EQ(weak[1].efficiency_by_processor, 0.8);
  EXPECT_THAT((std::vector{weak[0].efficiency, weak[1].efficiency}), ElementsAre(1, DoubleEq(0.8)));
}

TEST(BenchScaling, NumbersOfRanksAscend) {
  EXPECT_THAT(parse_rank_counts("1,2,16"), ElementsAre(1, 2, 16));
  for (const char* text : {"", "1,,2", "0", "2,1", "1,1", "two", "1,2x"})
    EXPECT_THROW(parse_rank_counts(text), UsageError) << text;
}

TEST(BenchSvg, WordsAreEscaped) {
  Svg svg(10, 10);
  svg.text(1, 2, "a < b & c > d");

  EXPECT_THAT(svg.str(), HasSubstr(">a &lt; b &amp; c &gt; d</text>"));
  EXPECT_THAT(svg.str(), HasSubstr("</svg>"));
}

}  // namespace
}  // namespace tally::bench
