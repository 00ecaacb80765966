#include "algorithms/latent/stationary.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "tests/unit/message_of.hpp"

namespace tally {
namespace {

using Numbers = std::vector<double>;

void expect_near(const Numbers& a, const Numbers& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance) << "element " << i;
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

Numbers stationary(const Numbers& transitions, Index K) {
  return stationary_distribution(MatrixView<const double>(transitions.data(), K, K));
}

TEST(StationaryDistribution, ByHand) {
  EXPECT_EQ(stationary({1}, 1), (Numbers{1}));
  expect_near(stationary({0.9, 0.1, 0.3, 0.7}, 2), {0.75, 0.25}, 1e-15);
  expect_near(stationary({0, 1, 1, 0}, 2), {0.5, 0.5}, 0);
  expect_near(stationary({0.5, 0.5, 0, 0, 0.5, 0.5, 0, 0.25, 0.75}, 3), {0, 1. / 3, 2. / 3}, 1e-15);
}

TEST(StationaryDistribution, KeepsDigitsWhereStatesAreHardlyEverLeft) {
  constexpr double rare = 1e-12;

  const Numbers found = stationary({1 - rare, rare, 3 * rare, 1 - 3 * rare}, 2);

  EXPECT_NEAR(found[1], 0.25, 1e-15);
}

TEST(StationaryDistribution, SaysWhichStatesNeverMeet) {
  expect_contains(message_of<DataError>([] { stationary({1, 0, 0, 0.5, 0, 0.5, 0, 0, 1}, 3); }), "states 0 and 2");
  expect_contains(message_of<DataError>([] { stationary({0.5, 0.25, 0.25, 0, 1, 0, 0, 0, 1}, 3); }), "states 1 and 2");
}

double stationary_objective(const Numbers& starts, const Numbers& counts, const Numbers& transitions, Index K) {
  const Numbers distribution = stationary(transitions, K);
  double sum = 0;
  for (std::size_t k = 0; k < starts.size(); ++k)
    if (starts[k] > 0) sum += starts[k] * std::log(distribution[k]);
  for (std::size_t n = 0; n < counts.size(); ++n)
    if (counts[n] > 0) sum += counts[n] * std::log(transitions[n]);
  return sum;
}

Numbers maximized(const Numbers& starts, const Numbers& counts, Numbers transitions, Index K) {
  maximize_stationary(starts, MatrixView<const double>(counts.data(), K, K),
                      MatrixView<double>(transitions.data(), K, K));
  return transitions;
}

TEST(StationaryMaximum, IsTheBestOfAGrid) {
  const Numbers starts = {1, 9}, counts = {8, 4, 3, 5};
  constexpr int steps = 1000;
  double best = -1e300;
  Numbers at_best;
  for (int i = 1; i < steps; ++i)
    for (int j = 1; j < steps; ++j) {
      const double a = static_cast<double>(i) / steps, b = static_cast<double>(j) / steps;
      const double distribution_0 = b / (a + b);  // of two states that are left with probabilities a and b
      const double value = std::log(distribution_0) + 9 * std::log(1 - distribution_0) + 8 * std::log(1 - a) +
                           4 * std::log(a) + 3 * std::log(b) + 5 * std::log(1 - b);
      if (value <= best) continue;
      best = value;
      at_best = {1 - a, a, b, 1 - b};
    }

  const Numbers found = maximized(starts, counts, Numbers(4, 0.5), 2);

  expect_near(found, at_best, 1.0 / steps);
  EXPECT_GE(stationary_objective(starts, counts, found, 2), best);
  EXPECT_GT(std::abs(found[1] - 4. / 12), 0.02);  // the first states matter
}

// At a maximum no direction goes up: derivatives along all exchanges within a row vanish.
TEST(StationaryMaximum, IsFlatForThreeStates) {
  std::mt19937_64 engine(3);
  std::exponential_distribution<double> draw(1);
  for (int repetition = 0; repetition < 20; ++repetition) {
    Numbers starts(3), counts(9);
    double total = 0;
    for (double& start : starts) total += start = 20 * draw(engine);
    for (double& count : counts) total += count = 10 * draw(engine) + 0.5;

    const Numbers found = maximized(starts, counts, Numbers(9, 1. / 3), 3);

    constexpr double step = 1e-5;
    for (std::size_t i = 0; i < 3; ++i)
      for (std::size_t j = 1; j < 3; ++j) {
        const auto moved = [&](double by) {
          Numbers at = found;
          at[3 * i] += by;
          at[3 * i + j] -= by;
          return stationary_objective(starts, counts, at, 3);
        };
        const double h = step * std::min(found[3 * i], found[3 * i + j]);
        // The gain that is left is 1e-13 of all counts, so that relative slopes are at most about its root.
        EXPECT_NEAR((moved(h) - moved(-h)) / (2 * step), 0, 1e-6 * total) << "row " << i << ", entries 0 and " << j;
      }
  }
}

TEST(StationaryMaximum, NeverFalls) {
  std::mt19937_64 engine(4);
  std::exponential_distribution<double> draw(1);
  constexpr Index K = 6;
  for (int repetition = 0; repetition < 50; ++repetition) {
    Numbers starts(K), counts(K * K), from(K * K);
    for (double& start : starts) start = std::pow(10, 4 * draw(engine) - 4);
    for (double& count : counts) count = draw(engine) < 0.3 ? 0 : std::pow(10, 4 * draw(engine) - 4);
    for (Index i = 0; i < K; ++i) {
      double sum = 0;
      for (Index j = 0; j < K; ++j) sum += from[static_cast<std::size_t>(i * K + j)] = draw(engine);
      for (Index j = 0; j < K; ++j) from[static_cast<std::size_t>(i * K + j)] /= sum;
    }

    const Numbers found = maximized(starts, counts, from, K);

    EXPECT_GE(stationary_objective(starts, counts, found, K), stationary_objective(starts, counts, from, K));
    for (Index i = 0; i < K; ++i) {
      double sum = 0;
      for (Index j = 0; j < K; ++j) sum += found[static_cast<std::size_t>(i * K + j)];
      EXPECT_NEAR(sum, 1, 1e-13);
    }
    EXPECT_EQ(maximized(starts, counts, from, K), found);
  }
}

TEST(StationaryMaximum, KeepsZerosAndRowsWithoutCounts) {
  const Numbers from = {0.5, 0.5, 0, 0.25, 0.5, 0.25, 0, 0.125, 0.875};

  const Numbers found = maximized({5, 1, 4}, {9, 3, 0, 2, 7, 4, 0, 0, 0}, from, 3);

  EXPECT_EQ(found[2], 0);
  EXPECT_EQ(found[6], 0);
  EXPECT_EQ(found[7], 0.125);
  EXPECT_EQ(found[8], 0.875);
}

TEST(StationaryMaximum, IsThatOfTheCountsWhereTheyAgree) {
  // Counts of 0.75 and 0.25 from the rows of a chain whose stationary distribution is that of the starts.
  const Numbers found = maximized({3, 1}, {9, 1, 3, 7}, Numbers(4, 0.5), 2);

  expect_near(found, {0.9, 0.1, 0.3, 0.7}, 1e-12);
}

}  // namespace
}  // namespace tally
