#include "core/exact_sum.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include "core/error.hpp"

namespace tally {
namespace {

using testing::Each;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr int no_exponent = std::numeric_limits<int>::min();

__extension__ using Int128 = __int128;

// Sums of `size` elements, as a lane or a rank keeps them.
struct Sums {
  explicit Sums(std::size_t size) : high(size, 0), low(size, 0) {}
  GridReport add(const Grid& grid, std::span<const double> values) {
    return add_to_grid(grid, values, high.data(), low.data());
  }
  void add_limbs(const Sums& other) {
    for (std::size_t i = 0; i < high.size(); ++i) {
      high[i] += other.high[i];
      low[i] += other.low[i];
    }
  }
  bool operator==(const Sums&) const = default;

  std::vector<std::int64_t> high, low;
};

Int128 total(std::int64_t high, std::int64_t low) {
  return static_cast<Int128>(high) * (std::int64_t{1} << grid_low_bits) + low;
}

// value 2^(scale) rounded to an integer, ties to even, from the bits of the value alone.
Int128 rounded_to_grid(double value, int scale) {
  int exponent = 0;
  const auto mantissa = static_cast<std::int64_t>(std::ldexp(std::frexp(std::abs(value), &exponent), 53));
  if (mantissa == 0) return 0;
  const int shift = exponent - 53 + scale;
  Int128 magnitude = 0;
  if (shift >= 0) {
    magnitude = static_cast<Int128>(mantissa) << shift;
  } else if (shift >= -54) {
    const std::int64_t half = std::int64_t{1} << (-shift - 1);
    const std::int64_t rest = mantissa & (2 * half - 1);
    std::int64_t quotient = mantissa >> -shift;
    if (rest > half || (rest == half && quotient % 2 == 1)) ++quotient;
    magnitude = quotient;
  }
  return value < 0 ? -magnitude : magnitude;
}

// Magnitudes over the whole range that a grid of exponent 40 distinguishes, and below it.
std::vector<double> wide_values(std::size_t count, unsigned seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> mantissa(-1, 1);
  std::uniform_int_distribution<int> exponent(-130, 40);
  std::vector<double> values(count);
  for (double& value : values) value = std::ldexp(mantissa(random), exponent(random));
  return values;
}

TEST(ExactSum, OrderAndGroupingDoNotMatter) {
  const Grid grid = make_grid(0x1p40, 20);
  std::vector<double> values = wide_values(5000, 1);
  Sums in_order(1);
  for (const double value : values) in_order.add(grid, {&value, 1});
  carry(in_order.high, in_order.low);

  std::mt19937_64 random(2);
  for (int trial = 0; trial < 10; ++trial) {
    std::shuffle(values.begin(), values.end(), random);
    Sums whole(1), group(1);
    for (const double value : values) {
      group.add(grid, {&value, 1});
      if (random() % 50 == 0) {
        carry(group.high, group.low);
        whole.add_limbs(group);
        group = Sums(1);
      }
    }
    carry(group.high, group.low);
    whole.add_limbs(group);
    carry(whole.high, whole.low);

    EXPECT_EQ(whole, in_order);
  }
}

TEST(ExactSum, DoubleSumsDependOnTheOrderWhereExactSumsDoNot) {
  const Grid grid = make_grid(0x1p40, 20);
  std::vector<double> values = wide_values(5000, 3);
  std::vector<double> reversed(values.rbegin(), values.rend());
  Sums forward(1), backward(1);

  for (const double value : values) forward.add(grid, {&value, 1});
  for (const double value : reversed) backward.add(grid, {&value, 1});

  EXPECT_NE(std::accumulate(values.begin(), values.end(), 0.0),
            std::accumulate(reversed.begin(), reversed.end(), 0.0));
  EXPECT_EQ(forward, backward);
}

TEST(ExactSum, EachValueIsRoundedOnceToTheGrid) {
  for (const int exponent : {-1000, -999, -961, -930, -300, -1, 0, 1, 40, 300, 1000, 1024}) {
    for (const int headroom : {0, 20, 60}) {
      const Grid grid{.exponent = exponent, .headroom_bits = headroom};
      const int unit_exponent = std::ilogb(grid.unit());
      std::vector<double> values = wide_values(2000, 4);
      for (double& value : values) value = std::ldexp(value, exponent - 40);
      Sums sums(values.size());

      const GridReport report = sums.add(grid, values);

      ASSERT_TRUE(report.all_added());
      for (std::size_t i = 0; i < values.size(); ++i) {
        ASSERT_TRUE(total(sums.high[i], sums.low[i]) ==
                    rounded_to_grid(values[i], unit_exponent + grid_low_bits))
            << values[i] << " on the grid of exponent " << exponent << " with headroom " << headroom;
      }
    }
  }
}

TEST(ExactSum, TiesGoToEven) {
  const Grid grid{.exponent = 0, .headroom_bits = 20};  // the high limb counts 2^-42, the low limb 2^-84
  const std::vector<double> halves = {0x1p-85,  0x3p-85,       0x5p-85,       -0x1p-85,
                                      -0x3p-85, 0x1.00001p-85, -0x1.fffffp-86};
  Sums sums(halves.size());

  sums.add(grid, halves);

  EXPECT_THAT(sums.high, Each(0));
  EXPECT_EQ(sums.low, (std::vector<std::int64_t>{0, 2, 2, 0, -2, 1, 0}));
}

TEST(ExactSum, UnitIsAPowerOfTwoForEveryExponent) {
  for (int exponent = -1000; exponent <= 1024; ++exponent) {
    for (const int headroom : {0, 20, 60}) {
      const double unit = Grid{.exponent = exponent, .headroom_bits = headroom}.unit();

      ASSERT_TRUE(std::isnormal(unit)) << exponent;
      ASSERT_EQ(std::ilogb(unit), std::min(62 - headroom - exponent, 1023));
    }
  }
}

TEST(ExactSum, HugeAndTinyValuesSideBySide) {
  const Grid grid = make_grid(1e15, 20);
  Sums sums(1);

  for (const double value : {1e15, 0x1p-30, -1e15}) sums.add(grid, {&value, 1});

  EXPECT_EQ(grid_value(grid, sums.high[0], sums.low[0]), 0x1p-30);
}

TEST(ExactSum, ValuesBelowTheGridBecomeZero) {
  const Grid grid = make_grid(1.0, 20);
  const std::vector<double> tiny = {1e-30,  -1e-30,  std::numeric_limits<double>::denorm_min(),
                                    -0.0,   0.0,     -std::numeric_limits<double>::min(),
                                    1e-300, -1e-300, 1e-200};
  Sums sums(tiny.size());

  const GridReport report = sums.add(grid, tiny);

  EXPECT_TRUE(report.all_added());
  EXPECT_THAT(sums.high, Each(0));
  EXPECT_THAT(sums.low, Each(0));
}

TEST(ExactSum, CarryKeepsTheValueAndLeavesTheLowLimbWithinBounds) {
  std::mt19937_64 random(5);
  Sums sums(1000);
  for (auto& limb : sums.high) limb = static_cast<std::int64_t>(random()) >> 2;
  for (auto& limb : sums.low) limb = static_cast<std::int64_t>(random());
  const Sums before = sums;

  carry(sums.high, sums.low);

  for (std::size_t i = 0; i < sums.high.size(); ++i) {
    EXPECT_TRUE(total(sums.high[i], sums.low[i]) == total(before.high[i], before.low[i]));
    EXPECT_GE(sums.low[i], 0);
    EXPECT_LT(sums.low[i], std::int64_t{1} << grid_low_bits);
  }
}

TEST(ExactSum, HeadroomHoldsAsManyOfTheLargestValuesAsItSays) {
  const Grid grid = make_grid(1.0, 20);
  const double largest = std::nextafter(2.0, 0.0);
  for (const double value : {largest, -largest}) {
    Sums sums(1);
    Int128 expected = 0;

    for (Index i = 0; i < additions_per_carry; ++i) {
      ASSERT_TRUE(sums.add(grid, {&value, 1}).all_added());
      expected += rounded_to_grid(value, std::ilogb(grid.unit()) + grid_low_bits);
    }

    EXPECT_TRUE(total(sums.high[0], sums.low[0]) == expected);
    EXPECT_EQ(grid_value(grid, sums.high[0], sums.low[0]), value * 0x1p20);
  }
}

TEST(ExactSum, LowLimbsHoldTheAdditionsOfOneCarry) {
  const Grid grid = make_grid(1.0, 20);
  const double value = std::ldexp(1.0, -std::ilogb(grid.unit()) - 1);  // the low limb at its largest
  Sums sums(1);
  sums.low[0] = (std::int64_t{1} << grid_low_bits) - 1;  // carried before

  for (Index i = 0; i < additions_per_carry; ++i) sums.add(grid, {&value, 1});
  carry(sums.high, sums.low);

  EXPECT_EQ(sums.high[0], additions_per_carry / 2);
  EXPECT_EQ(sums.low[0], (std::int64_t{1} << grid_low_bits) - 1);
}

TEST(ExactSum, ElementwiseSumOfCarriedShardsEqualsTheWhole) {
  constexpr std::size_t width = 37;
  constexpr std::size_t blocks = 60;
  constexpr std::size_t shards = 7;
  const Grid grid = make_grid(0x1p40, 20);
  Sums whole(width), reduced(width);
  std::vector<Sums> shard(shards, Sums(width));
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::vector<double> values = wide_values(width, static_cast<unsigned>(100 + b));
    whole.add(grid, values);
    shard[b * b % (shards - 1)].add(grid, values);  // the last shard has no block
  }

  for (Sums& sums : shard) {
    carry(sums.high, sums.low);
    reduced.add_limbs(sums);
  }
  carry(reduced.high, reduced.low);
  carry(whole.high, whole.low);

  EXPECT_EQ(reduced, whole);
}

TEST(ExactSum, TheCarriedShardsOfAMillionRanksFit) {
  const std::int64_t low_limit = (std::int64_t{1} << grid_low_bits) - 1;
  Sums sums(1);

  for (Index rank = 0; rank < additions_per_carry; ++rank) sums.low[0] += low_limit;
  carry(sums.high, sums.low);

  EXPECT_TRUE(total(sums.high[0], sums.low[0]) == static_cast<Int128>(low_limit) * additions_per_carry);
}

TEST(ExactSum, ABoundExceededOnOneShardIsReportedThereAndARepeatSucceeds) {
  const std::vector<std::vector<double>> shards = {{1, 2, 3}, {0.5, -1000, 7.99}, {-7, 0, 5}};
  const Grid first = make_grid(7.99, 20);
  ASSERT_EQ(first.exponent, 3);
  Sums attempt(3);
  std::vector<GridReport> reports;
  for (const auto& values : shards) reports.push_back(attempt.add(first, values));

  EXPECT_EQ(reports[0].misfits, 0);
  EXPECT_EQ(reports[1].misfits, 1);
  EXPECT_EQ(reports[2].misfits, 0);
  EXPECT_EQ(grid_value(first, attempt.high[1], attempt.low[1]), 2.0);

  GridReport all;
  for (const GridReport& report : reports) all.merge(report);
  EXPECT_EQ(all.misfits, 1);
  EXPECT_EQ(all.largest_exponent, 10);
  const Grid second{.exponent = all.largest_exponent, .headroom_bits = 20};
  Sums repeat(3);
  for (const auto& values : shards) EXPECT_TRUE(repeat.add(second, values).all_added());

  EXPECT_EQ(grid_value(second, repeat.high[0], repeat.low[0]), -5.5);
  EXPECT_EQ(grid_value(second, repeat.high[1], repeat.low[1]), -998.0);
}

TEST(ExactSum, AMisfitIsFoundInEveryPosition) {
  const Grid grid = make_grid(1.0, 20);
  for (std::size_t size = 1; size <= 40; ++size) {
    for (std::size_t place = 0; place < size; ++place) {
      for (const double bad : {2.0, -2.0, 1e300, infinity, -infinity, nan, -nan}) {
        std::vector<double> values(size, 0.25);
        values[place] = bad;
        Sums sums(size);

        const GridReport report = sums.add(grid, values);

        ASSERT_EQ(report.misfits, std::isfinite(bad) ? 1 : 0);
        ASSERT_EQ(report.non_finite, std::isfinite(bad) ? 0 : 1);
        for (std::size_t i = 0; i < size; ++i) {
          ASSERT_EQ(grid_value(grid, sums.high[i], sums.low[i]), i == place ? 0.0 : 0.25);
        }
      }
    }
  }
}

TEST(ExactSum, InfinitiesAndNanAreRefusedOnTheWidestGridToo) {
  const Grid grid = make_grid(std::numeric_limits<double>::max(), 20);
  const std::vector<double> values = {infinity, std::numeric_limits<double>::max(), nan, -infinity, 1e300};
  Sums sums(values.size());

  const GridReport report = sums.add(grid, values);

  EXPECT_EQ(report.misfits, 0);
  EXPECT_EQ(report.non_finite, 3);
  EXPECT_EQ(report.largest_exponent, 1024);
  EXPECT_EQ(grid_value(grid, sums.high[1], sums.low[1]), values[1]);
  EXPECT_EQ(sums.high[0], 0);
}

TEST(ExactSum, LargestExponentIsTheSmallestThatHoldsEveryFiniteValue) {
  const Grid grid = make_grid(0x1p40, 20);
  const auto exponent_of = [&](std::vector<double> values) {
    Sums sums(values.size());
    return sums.add(grid, values).largest_exponent;
  };

  EXPECT_EQ(exponent_of({}), no_exponent);
  EXPECT_EQ(exponent_of({0.0, -0.0}), no_exponent);
  EXPECT_EQ(exponent_of({nan}), no_exponent);
  EXPECT_EQ(exponent_of({1.0}), 1);
  EXPECT_EQ(exponent_of({0.0, -std::nextafter(1.0, 0.0)}), 0);
  EXPECT_EQ(exponent_of({infinity, 0x1p50, nan, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0}), 51);
  EXPECT_EQ(exponent_of(std::vector<double>(64, -12.0)), 4);
  EXPECT_EQ(exponent_of({std::numeric_limits<double>::denorm_min()}), -1073);
  EXPECT_EQ(exponent_of({std::numeric_limits<double>::max()}), 1024);
}

TEST(ExactSum, TheBoundItselfFitsItsGrid) {
  for (const double bound : {0.0, 5e-324, 1e-300, 0x1p-3, std::nextafter(1.0, 0.0), 1.0, 7.99, 8.0, 1e300,
                             std::numeric_limits<double>::max()}) {
    const Grid grid = make_grid(bound, 20);
    Sums sums(2);

    EXPECT_TRUE(sums.add(grid, std::vector<double>{bound, -bound}).all_added()) << bound;
    if (bound > 1e-290) {
      EXPECT_EQ(grid_value(grid, sums.high[0], sums.low[0]), bound);
      EXPECT_GT(2 * std::ldexp(bound, -grid.exponent), 1 - 1e-15)
          << "a smaller exponent would do for " << bound;
    }
  }
}

TEST(ExactSum, BoundsThatMakeNoGridAreRefused) {
  EXPECT_THROW(make_grid(infinity, 20), UsageError);
  EXPECT_THROW(make_grid(nan, 20), UsageError);
  EXPECT_THROW(make_grid(-1.0, 20), UsageError);
  EXPECT_THROW(make_grid(1.0, -1), UsageError);
  EXPECT_THROW(make_grid(1.0, 61), UsageError);
}

TEST(ExactSum, GridValueIsRoundedOnce) {
  const Grid grid{.exponent = 20, .headroom_bits = 0};  // 2^-42 in the high limb, 2^-84 in the low limb
  const std::int64_t high = std::int64_t{1} << 52;

  EXPECT_EQ(grid_value(grid, 2 * high, 0), 0x1p11);
  EXPECT_EQ(grid_value(grid, 2 * high + 1, 0), 0x1p11);  // a tie, to even
  EXPECT_EQ(grid_value(grid, 2 * high + 1, 1), std::nextafter(0x1p11, infinity));
  EXPECT_EQ(grid_value(grid, 2 * high + 1, -1), 0x1p11);
  EXPECT_EQ(grid_value(grid, 2 * high + 3, 0), 0x1p11 + 0x1p-40);
  EXPECT_EQ(grid_value(grid, -2 * high - 1, -1), -std::nextafter(0x1p11, infinity));
  EXPECT_EQ(grid_value(grid, 1, -(std::int64_t{1} << grid_low_bits)), 0.0);
}

TEST(ExactSum, EveryProcessorTargetGivesTheSameLimbs) {
  const Grid grid = make_grid(0x1p40, 3);
  std::vector<double> values = wide_values(1003, 6);
  values[17] = infinity;
  values[500] = 0x1p45;
  values[1002] = nan;
  const std::int64_t targets = hwy::SupportedTargets();
  ASSERT_NE(targets, 0);

  std::vector<Sums> results;
  std::vector<GridReport> reports;
  for (std::int64_t left = targets; left != 0; left &= left - 1) {
    hwy::SetSupportedTargetsForTest(left & -left);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    results.emplace_back(values.size());
    reports.push_back(results.back().add(grid, values));
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());

  EXPECT_GT(results.size(), 1u) << "one target only: nothing was compared";
  for (std::size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(results[i], results[0]) << i;
    EXPECT_EQ(reports[i].misfits, 1);
    EXPECT_EQ(reports[i].non_finite, 2);
    EXPECT_EQ(reports[i].largest_exponent, 46);
  }
}

}  // namespace
}  // namespace tally
