#include "core/philox.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace tally {
namespace {

// Moments and frequencies below come from fixed keys: they pass or fail for ever. A bound of five standard
// errors would fail by chance in 6 of 10 million keys.
constexpr double standard_errors = 5;
constexpr RandomKey key = {.seed = 12345, .stream = 7};

std::vector<std::uint32_t> words(const PhiloxCounter& counter) {
  return {counter.word, counter.word + 4};
}

// kat_vectors of the Random123 distribution, philox4x32 with 10 rounds.
TEST(Philox, AgreesWithThePublishedVectors) {
  constexpr std::uint32_t ones = 0xffffffff;
  const std::vector<std::uint32_t> of_zeros = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  const std::vector<std::uint32_t> of_ones = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
  const std::vector<std::uint32_t> of_pi = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};

  EXPECT_EQ(words(philox({{0, 0, 0, 0}}, {{0, 0}})), of_zeros);
  EXPECT_EQ(words(philox({{ones, ones, ones, ones}}, {{ones, ones}})), of_ones);
  EXPECT_EQ(words(philox({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, {{0xa4093822, 0x299f31d0}})),
            of_pi);
}

TEST(Philox, IsAConstantExpression) {
  static_assert(philox({{0, 0, 0, 0}}, {{0, 0}}).word[0] == 0x6627e8d5);
  static_assert(uniform(key, 1, 2) == uniform(key, 1, 2));
  static_assert(below(key, 1, 2, 1) == 0);
}

TEST(RandomBits, EveryBitOfKeyIndexAndDrawMatters) {
  std::set<std::uint64_t> seen = {random_bits({0, 0}, 0, 0).first};
  for (int bit = 0; bit < 64; ++bit) {
    const std::uint64_t wide = std::uint64_t{1} << bit;
    EXPECT_TRUE(seen.insert(random_bits({wide, 0}, 0, 0).first).second) << "seed bit " << bit;
    EXPECT_TRUE(seen.insert(random_bits({0, 0}, wide, 0).first).second) << "index bit " << bit;
    if (bit >= 32) continue;
    const auto narrow = static_cast<std::uint32_t>(wide);
    EXPECT_TRUE(seen.insert(random_bits({0, narrow}, 0, 0).first).second) << "stream bit " << bit;
    EXPECT_TRUE(seen.insert(random_bits({0, 0}, 0, narrow).first).second) << "draw bit " << bit;
  }
}

TEST(UniformDraw, LiesStrictlyBetweenZeroAndOneAndIsSymmetric) {
  EXPECT_EQ(open_unit_interval(0), 0x1p-53);
  EXPECT_EQ(open_unit_interval(~std::uint64_t{0}), 1 - 0x1p-53);
  EXPECT_EQ(open_unit_interval(std::uint64_t{1} << 63), 0.5 + 0x1p-53);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const std::uint64_t bits = random_bits(key, i, 0).first;
    EXPECT_EQ(open_unit_interval(bits) + open_unit_interval(~bits), 1.0);
  }
}

struct Moments {
  double mean;
  double variance;
};

template <class Draw>
Moments moments(std::uint64_t count, Draw draw) {
  double sum = 0, squares = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const double value = draw(i);
    sum += value;
    squares += value * value;
  }
  const double n = static_cast<double>(count);
  return {sum / n, squares / n - sum / n * (sum / n)};
}

TEST(UniformDraw, HasTheMomentsOfTheUniformDistribution) {
  constexpr double n = 200000;
  const Moments seen = moments(200000, [](std::uint64_t i) { return uniform(key, i, 0); });

  EXPECT_NEAR(seen.mean, 0.5, standard_errors * std::sqrt(1 / (12 * n)));
  EXPECT_NEAR(seen.variance, 1 / 12.0, standard_errors * std::sqrt(1 / (180 * n)));
}

TEST(UniformDraw, NeighbouringIndicesAndDrawsAreUncorrelated) {
  constexpr std::uint64_t count = 200000;
  double by_index = 0, by_draw = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const double value = uniform(key, i, 0) - 0.5;
    by_index += value * (uniform(key, i + 1, 0) - 0.5);
    by_draw += value * (uniform(key, i, 1) - 0.5);
  }

  const double bound = standard_errors * std::sqrt(static_cast<double>(count)) / 12;
  EXPECT_LT(std::abs(by_index), bound);
  EXPECT_LT(std::abs(by_draw), bound);
}

TEST(NormalDraw, HasTheMomentsAndTailsOfTheNormalDistribution) {
  constexpr std::uint64_t count = 200000;
  constexpr double n = count;
  double beyond_two = 0, cubes = 0;
  const Moments seen = moments(count, [&](std::uint64_t i) {
    const double value = normal(key, i, 3);
    beyond_two += std::abs(value) > 2;
    cubes += value * value * value;
    return value;
  });

  EXPECT_NEAR(seen.mean, 0, standard_errors / std::sqrt(n));
  EXPECT_NEAR(seen.variance, 1, standard_errors * std::sqrt(2 / n));
  EXPECT_NEAR(cubes / n, 0, standard_errors * std::sqrt(15 / n));
  const double expected = std::erfc(std::numbers::sqrt2);
  EXPECT_NEAR(beyond_two / n, expected, standard_errors * std::sqrt(expected / n));
}

TEST(BelowDraw, MultipliesHighAsWideIntegersDo) {
  __extension__ using Uint128 = unsigned __int128;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const auto [a, b] = random_bits(key, i, 0);
    EXPECT_EQ(multiply_high(a, b), static_cast<std::uint64_t>(static_cast<Uint128>(a) * b >> 64));
  }
  EXPECT_EQ(multiply_high(~std::uint64_t{0}, ~std::uint64_t{0}), ~std::uint64_t{1});
}

TEST(BelowDraw, ReachesEveryIntegerEquallyOftenAndNoOther) {
  constexpr std::uint64_t bound = 7;
  constexpr std::uint64_t count = 70000;
  std::vector<double> frequency(bound, 0);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t value = below(key, i, 0, bound);
    ASSERT_LT(value, bound);
    ++frequency[value];
  }

  for (const double seen : frequency) EXPECT_NEAR(seen, 10000, standard_errors * std::sqrt(10000.0));
  EXPECT_EQ(below(key, 0, 0, 0), 0u);
}

class PoissonDrawOfRate : public testing::TestWithParam<double> {};

TEST_P(PoissonDrawOfRate, HasTheFrequenciesOfThePoissonDistribution) {
  const double rate = GetParam();
  constexpr std::uint64_t count = 100000;
  constexpr double n = count;
  const double deviation = std::sqrt(rate);
  const auto widest = static_cast<std::size_t>(rate + 12 * deviation + 12);
  std::vector<double> frequency(widest, 0);

  const Moments seen = moments(count, [&](std::uint64_t i) {
    const std::int64_t value = poisson(key, i, 0, rate);
    EXPECT_GE(value, 0);
    EXPECT_LT(value, static_cast<std::int64_t>(widest));
    ++frequency[std::min(static_cast<std::size_t>(value), widest - 1)];
    return static_cast<double>(value);
  });

  EXPECT_NEAR(seen.mean, rate, standard_errors * deviation / std::sqrt(n));
  EXPECT_NEAR(seen.variance, rate, standard_errors * std::sqrt((rate + 2 * rate * rate) / n));
  for (std::size_t k = 0; k < widest; ++k) {
    const double expected = n * std::exp(static_cast<double>(k) * std::log(rate) - rate -
                                         std::lgamma(static_cast<double>(k) + 1));
    if (expected <= 25) continue;  // too few for the normal approximation
    EXPECT_NEAR(frequency[k], expected, standard_errors * std::sqrt(expected)) << k;
  }
}

INSTANTIATE_TEST_SUITE_P(Rates, PoissonDrawOfRate, testing::Values(0.01, 1.0, 9.99, 10.0, 30.0, 1000.0));

TEST(PoissonDraw, OfRateZeroIsZeroAndOfHugeRatesIsNearTheRate) {
  for (std::uint64_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(poisson(key, i, 0, 0.0), 0);
    EXPECT_NEAR(static_cast<double>(poisson(key, i, 0, 1e9)), 1e9, 6 * std::sqrt(1e9));
  }
}

TEST(PoissonDraw, LogFactorialAgreesWithTheGammaFunction) {
  constexpr double series_error = 1e-10;
  for (int k = 0; k < 200; ++k) {
    const double expected = std::lgamma(k + 1.0);
    EXPECT_NEAR(detail::log_factorial(k), expected, series_error + 1e-14 * expected);
  }
}

}  // namespace
}  // namespace tally
