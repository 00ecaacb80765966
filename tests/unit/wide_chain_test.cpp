#include "core/wide_chain.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace tally {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

TEST(Wide, HoldsWhatDoublesHold) {
  for (const double value : {0.0, 1.0, 0.1, 3.75, 1e300, 1e-300, std::numeric_limits<double>::denorm_min()}) {
    EXPECT_EQ(Wide(value).value(), value);
    EXPECT_EQ(static_cast<bool>(Wide(value)), value > 0);
  }
  EXPECT_EQ(Wide().log(), -inf);
}

TEST(Wide, ComputesAsDoublesDo) {
  const std::vector<double> values = {1.0, 1.5, 0.3, 7e10, 2e-9, 1.999999999999};
  for (const double a : values)
    for (const double b : values) {
      EXPECT_EQ((Wide(a) * Wide(b)).value(), a * b);
      EXPECT_EQ((Wide(a) / Wide(b)).value(), a / b);
      EXPECT_EQ((Wide(a) + Wide(b)).value(), a + b);
      EXPECT_EQ(Wide(a) < Wide(b), a < b);
    }
  EXPECT_EQ((Wide() + Wide(2)).value(), 2);
  EXPECT_FALSE(Wide() * Wide(2));
  EXPECT_TRUE(Wide() < Wide(1e-300));
  EXPECT_FALSE(Wide() < Wide());
}

TEST(Wide, GoesBeyondDoubles) {
  for (const double logarithm : {-1e5, -745.2, -3.0, 0.0, 2.0, 1e4}) {
    EXPECT_NEAR(Wide::of_log(logarithm).log(), logarithm, 1e-15 * (1 + std::abs(logarithm)));
    EXPECT_NEAR((Wide::of_log(logarithm) / Wide::of_log(logarithm + 1)).value(), std::exp(-1.0), 4e-16 * (1 + std::abs(logarithm)));
  }
  EXPECT_FALSE(Wide::of_log(-inf));
  EXPECT_EQ(Wide::of_log(1e5).value(), inf);
  EXPECT_EQ(Wide::of_log(-1e5).value(), 0);
  EXPECT_TRUE(Wide::of_log(-2000) < Wide::of_log(-1000));
}

TEST(Messages, KeepWhatIsTooSmallForDoubles) {
  std::vector<double> message(3);
  write_message(std::vector<Wide>{Wide::of_log(-5000), Wide(), Wide::of_log(-2000)}, message);
  EXPECT_DOUBLE_EQ(message[0], -3000);
  EXPECT_EQ(message[1], 0);
  EXPECT_EQ(message[2], 1);
  EXPECT_NEAR(from_message(message[0]).log(), -3000, 1e-12);
  EXPECT_EQ(linear_of_message(message[0]), 0);
  EXPECT_EQ(linear_of_message(message[2]), 1);

  write_message(std::vector<Wide>(3), message);
  EXPECT_EQ(message, std::vector<double>(3, 0.0));
}

// Two states that are never left: first 1000 nats for one, then 2000 for the other.
TEST(WideChain, FindsWhatUnderflows) {
  const std::vector<double> start = {0.25, 0.75}, transitions = {1, 0, 0, 1}, log_b = {0, -1000, -2000, 0};
  WideChain chain;
  chain.set_chain(2, start.data(), transitions.data());
  chain.set_piece({log_b.data(), 2, 2});
  std::vector<double> log_scales(2), gamma(4), sums(4, 0.0);

  EXPECT_EQ(chain.forward(nullptr, log_scales.data()), -1);
  EXPECT_NEAR(chain.alpha(0)[1].log(), std::log(3.0) - 1000, 1e-12);
  EXPECT_NEAR(log_scales[0] + log_scales[1], std::log(0.75) - 1000, 1e-12);
  EXPECT_NEAR(chain.probability().log() + chain.likeliest(0) + chain.likeliest(1), std::log(0.75) - 1000, 1e-12);

  chain.backward(nullptr, {gamma.data(), 2, 2}, 2, sums);
  EXPECT_NEAR(gamma[1], 1, 1e-12);
  EXPECT_NEAR(gamma[3], 1, 1e-12);
  EXPECT_NEAR(sums[3], 2, 1e-12);
  EXPECT_EQ(sums[1], 0);
}

TEST(WideChain, NamesTheFirstImpossibleStep) {
  const std::vector<double> start = {1, 0}, transitions = {1, 0, 0, 1}, log_b = {0, 0, -inf, 0};
  WideChain chain;
  chain.set_chain(2, start.data(), transitions.data());
  std::vector<double> log_scales(2);
  chain.set_piece({log_b.data(), 2, 2});
  EXPECT_EQ(chain.forward(nullptr, log_scales.data()), 1);
  const std::vector<double> nan = {0, 0, std::nan(""), std::nan("")};
  chain.set_piece({nan.data(), 2, 2});
  EXPECT_EQ(chain.forward(nullptr, log_scales.data()), 1);
}

}  // namespace
}  // namespace tally
