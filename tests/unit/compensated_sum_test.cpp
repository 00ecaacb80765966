#include "core/compensated_sum.hpp"

#include <gtest/gtest.h>

namespace tally {
namespace {

TEST(CompensatedSum, KeepsWhatRoundingTakes) {
  CompensatedSum sum;
  for (const double value : {1.0, 1e100, 1.0, -1e100}) sum.add(value);

  EXPECT_EQ(sum.value(), 2);
}

TEST(CompensatedSum, AddsManyAsOne) {
  CompensatedSum sum;
  for (int i = 0; i < 1000000; ++i) sum.add(0.1);

  EXPECT_EQ(sum.value(), 1000000 * 0.1);
}

}  // namespace
}  // namespace tally
