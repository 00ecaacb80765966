#include "core/log_product.hpp"

#include <cmath>
#include <initializer_list>
#include <limits>

#include <gtest/gtest.h>

namespace tally {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

double log_of(std::initializer_list<double> factors) {
  LogProduct product;
  for (const double factor : factors) product.multiply(factor);
  return product.log();
}

TEST(LogProduct, OfNothingIsZero) { EXPECT_EQ(LogProduct().log(), 0); }

TEST(LogProduct, LeavesTheRangeOfDoublesAndComesBack) {
  EXPECT_EQ(log_of({0x1p-1000, 0x1p-1000, 0x1p-1000, 0x1p1000, 0x1p1000, 0x1p1000}), 0);
  EXPECT_EQ(log_of({0x1p1000, 0x1p1000, 0x1p-1000, 0x1p-1000}), 0);
}

TEST(LogProduct, OfManyFactorsIsTheSumOfLogarithms) {
  constexpr double relative = 1e-13;  // of 100000 roundings
  const double smallest = std::numeric_limits<double>::denorm_min(), largest = std::numeric_limits<double>::max();
  for (const double factor : {smallest, 3 * smallest, 1e-310, 1e-200, 0.5, 0.999, 1.001, 1e200, largest}) {
    LogProduct product;
    for (int i = 0; i < 100000; ++i) product.multiply(factor);

    EXPECT_NEAR(product.log(), 100000 * std::log(factor), relative * std::abs(100000 * std::log(factor))) << factor;
  }
}

TEST(LogProduct, WithAFactorOfZeroIsMinusInfinity) {
  EXPECT_EQ(log_of({0.5, 0, 0.5}), -infinity);
  EXPECT_EQ(log_of({0, 1e300, 1e300, 1e300}), -infinity);
}

TEST(LogProduct, WithAnInfiniteFactorIsInfinite) { EXPECT_EQ(log_of({1e-300, infinity, 1e-300, 1e-300}), infinity); }

TEST(LogProduct, NeverHidesANaN) {
  EXPECT_TRUE(std::isnan(log_of({0.5, std::numeric_limits<double>::quiet_NaN(), 0.5})));
  EXPECT_TRUE(std::isnan(log_of({0, infinity})));
}

}  // namespace
}  // namespace tally
