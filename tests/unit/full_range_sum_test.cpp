#include "core/full_range_sum.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

namespace tally {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double largest = std::numeric_limits<double>::max();
constexpr double smallest = std::numeric_limits<double>::denorm_min();

// Finite doubles of every sign and exponent, subnormal ones too.
std::vector<double> doubles_of_every_kind(std::size_t count, unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<double> values;
  while (values.size() < count) {
    const auto value = std::bit_cast<double>(random() >> (random() % 8 == 0 ? 12 : 0));
    if (std::isfinite(value)) values.push_back(value);
  }
  return values;
}

FullRangeSum sum_of(std::span<const double> values) {
  FullRangeSum sum;
  for (const double value : values) EXPECT_TRUE(sum.add(value));
  return sum;
}

std::vector<std::int64_t> carried_limbs(FullRangeSum sum) {
  sum.carry();
  return {sum.limbs().begin(), sum.limbs().end()};
}

TEST(FullRangeSum, OneValueIsReturnedExactly) {
  std::vector<double> values = doubles_of_every_kind(20000, 1);
  values.insert(values.end(),
                {0.0, 1.0, smallest, -smallest, largest, -largest, std::numeric_limits<double>::min()});
  for (const double value : values) {
    ASSERT_EQ(sum_of({&value, 1}).value(), value);
  }
}

TEST(FullRangeSum, ASumOfTwoIsRoundedAsTheProcessorRoundsIt) {
  std::mt19937_64 random(2);
  const std::vector<double> values = doubles_of_every_kind(20000, 3);
  std::uniform_int_distribution<int> distance(-120, 120);
  for (const double value : values) {
    const double other = std::ldexp(static_cast<double>(static_cast<std::int64_t>(random())) * 0x1p-63,
                                    std::ilogb(value) + distance(random));
    if (!std::isfinite(other)) continue;
    ASSERT_EQ(sum_of(std::vector<double>{value, other}).value(), value + other) << value << " and " << other;
  }
}

TEST(FullRangeSum, TiesGoToEvenUnlessAnythingLiesBelow) {
  const double next = std::nextafter(1.0, 2.0);

  EXPECT_EQ(sum_of(std::vector<double>{1.0, 0x1p-53}).value(), 1.0);
  EXPECT_EQ(sum_of(std::vector<double>{1.0, 0x1p-53, smallest}).value(), next);
  EXPECT_EQ(sum_of(std::vector<double>{1.0, 0x1p-53, -smallest}).value(), 1.0);
  EXPECT_EQ(sum_of(std::vector<double>{next, 0x1p-53}).value(), 1.0 + 0x1p-51);
  EXPECT_EQ(sum_of(std::vector<double>{-1.0, -0x1p-53, -smallest}).value(), -next);
}

TEST(FullRangeSum, HugeValuesCancelAndTinyOnesRemain) {
  EXPECT_EQ(sum_of(std::vector<double>{largest, smallest, largest, -largest, 1.0, -largest, -1.0}).value(),
            smallest);
  EXPECT_EQ(sum_of(std::vector<double>{-largest, -smallest, largest}).value(), -smallest);
  EXPECT_EQ(sum_of(std::vector<double>{1e308, 1e-308, -1e308, -1e-308}).value(), 0.0);
}

TEST(FullRangeSum, ASumBeyondTheRangeOfDoubleIsInfinite) {
  FullRangeSum sum;
  for (int i = 0; i < 1000; ++i) sum.add(largest);

  EXPECT_EQ(sum.value(), infinity);
  for (int i = 0; i < 2000; ++i) sum.add(-largest);
  EXPECT_EQ(sum.value(), -infinity);
  for (int i = 0; i < 999; ++i) sum.add(largest);
  EXPECT_EQ(sum.value(), -largest);
}

TEST(FullRangeSum, OrderAndGroupingDoNotMatter) {
  std::vector<double> values = doubles_of_every_kind(3000, 4);
  const FullRangeSum in_order = sum_of(values);
  std::mt19937_64 random(5);
  for (int trial = 0; trial < 10; ++trial) {
    std::shuffle(values.begin(), values.end(), random);
    FullRangeSum whole, group;
    for (const double value : values) {
      group.add(value);
      if (random() % 50 == 0) {
        whole.merge(group);
        group = FullRangeSum();
      }
    }
    whole.merge(group);

    EXPECT_EQ(carried_limbs(whole), carried_limbs(in_order));
    EXPECT_EQ(whole.value(), in_order.value());
  }
}

TEST(FullRangeSum, ElementwiseSumOfCarriedLimbsEqualsTheWhole) {
  const std::vector<double> values = doubles_of_every_kind(5000, 6);
  FullRangeSum reduced;
  for (std::size_t first = 0; first < values.size(); first += 500) {
    FullRangeSum shard = sum_of(std::span(values).subspan(first, 500));
    shard.carry();
    for (std::size_t i = 0; i < FullRangeSum::limb_count; ++i) reduced.limbs()[i] += shard.limbs()[i];
  }

  const FullRangeSum whole = sum_of(values);
  EXPECT_EQ(reduced.value(), whole.value());
  EXPECT_EQ(carried_limbs(reduced), carried_limbs(whole));
}

TEST(FullRangeSum, TheCarriedLimbsOfAMillionRanksFit) {
  for (const double value : {largest, -largest, -smallest, -1.0, 0.1}) {
    FullRangeSum shard = sum_of(std::vector<double>{value, value / 3});
    shard.carry();
    FullRangeSum reduced, doubled = shard;
    for (std::size_t i = 0; i < FullRangeSum::limb_count; ++i) reduced.limbs()[i] = shard.limbs()[i] << 20;

    for (int i = 0; i < 20; ++i) doubled.merge(FullRangeSum(doubled));

    EXPECT_EQ(carried_limbs(reduced), carried_limbs(doubled));
    EXPECT_EQ(reduced.value(), doubled.value());
  }
}

TEST(FullRangeSum, CarriedLimbsLieWithinTheirBounds) {
  FullRangeSum sum = sum_of(doubles_of_every_kind(3000, 7));
  const double before = sum.value();

  sum.carry();

  EXPECT_EQ(sum.value(), before);
  for (std::size_t i = 0; i + 1 < FullRangeSum::limb_count; ++i) {
    EXPECT_GE(sum.limbs()[i], 0);
    EXPECT_LT(sum.limbs()[i], std::int64_t{1} << 32);
  }
}

TEST(FullRangeSum, MergingManyTimesNeverOverflows) {
  FullRangeSum sum = sum_of(std::vector<double>{1.5});
  for (int i = 0; i < 100; ++i) sum.merge(FullRangeSum(sum));

  EXPECT_EQ(sum.value(), 1.5 * 0x1p100);
}

TEST(FullRangeSum, InfinitiesAndNanAreRefused) {
  FullRangeSum sum = sum_of(std::vector<double>{2.5});
  const auto before = carried_limbs(sum);

  EXPECT_FALSE(sum.add(infinity));
  EXPECT_FALSE(sum.add(-infinity));
  EXPECT_FALSE(sum.add(std::numeric_limits<double>::quiet_NaN()));

  EXPECT_EQ(carried_limbs(sum), before);
}

TEST(FullRangeSum, TravelsAsBytes) {
  EXPECT_TRUE(std::is_trivially_copyable_v<FullRangeSum>);
  EXPECT_EQ(FullRangeSum().value(), 0.0);
  EXPECT_FALSE(std::signbit(FullRangeSum().value()));
}

}  // namespace
}  // namespace tally
