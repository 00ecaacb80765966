#include "core/backends/device_sums.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace tally::generic {
namespace {

struct Sums {
  std::vector<std::int64_t> high, low;
  std::vector<Misses> misses;
  explicit Sums(std::size_t size) : high(size), low(size), misses(size) {}
};

template <class Functor>
void run(const Functor& f) {
  for (Index i = 0; i < f.count(); ++i) f(i);
}

void add(const Grid& grid, const std::vector<double>& values, Sums& sums) {
  const auto size = static_cast<Index>(values.size());
  const std::vector<double> limits(values.size(), std::ldexp(1.0, grid.exponent)), units(values.size(), grid.unit());
  run(AddToSums{values.data(), size, limits.data(), units.data(), sums.high.data(), sums.low.data(),
                sums.misses.data()});
}

void carry_sums(Sums& sums) {
  run(CarrySums{sums.high.data(), sums.low.data(), static_cast<Index>(sums.high.size())});
}

// Of every magnitude from the grid's limit to far below its spacing, ties between two multiples of it among them.
std::vector<double> values_of_all_sizes(const Grid& grid, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::uniform_real_distribution<double> digits(-1.0, 1.0);
  std::vector<double> values;
  for (int below = 0; below < 170; ++below) {
    values.push_back(std::ldexp(digits(engine), grid.exponent - below));
    values.push_back(std::ldexp(below % 2 == 0 ? 0.75 : -0.625, grid.exponent - below));
  }
  return values;
}

TEST(DeviceSums, AddTheSameIntegersAsTheHost) {
  for (const int exponent : {-1000, -30, 0, 7, 1000}) {
    for (const int headroom : {0, 20, 40}) {
      const Grid grid{exponent, headroom};
      const std::vector<double> first = values_of_all_sizes(grid, 1), second = values_of_all_sizes(grid, 2);
      Sums device(first.size()), host(first.size());

      for (const auto* values : {&first, &second}) {
        add(grid, *values, device);
        EXPECT_TRUE(add_to_grid(grid, *values, host.high.data(), host.low.data()).all_added());
      }
      carry_sums(device);
      carry(host.high, host.low);

      EXPECT_EQ(device.high, host.high) << exponent << " " << headroom;
      EXPECT_EQ(device.low, host.low) << exponent << " " << headroom;
      for (const Misses& misses : device.misses) EXPECT_EQ(misses.misfits + misses.non_finite, 0);
    }
  }
}

TEST(DeviceSums, WhatDoesNotFitIsCountedAndNotAdded) {
  const Grid grid{3, 20};
  const double inf = std::numeric_limits<double>::infinity();
  const std::vector<double> values{1, 8, -1e300, inf, -inf, std::nan("")};
  Sums sums(values.size());

  add(grid, values, sums);
  std::vector<Misses> runs(2), total(1);
  run(SumMisses{sums.misses.data(), 6, 4, runs.data()});
  run(SumMisses{runs.data(), 2, 2, total.data()});

  EXPECT_EQ(grid_value(grid, sums.high[0], sums.low[0]), 1);
  for (std::size_t i = 1; i < values.size(); ++i) EXPECT_EQ(sums.high[i] | sums.low[i], 0) << i;
  EXPECT_EQ(total[0].misfits, 2);
  EXPECT_EQ(total[0].non_finite, 3);
  EXPECT_EQ(total[0].largest, 1e300);
}

TEST(DeviceSums, LanesMergeLikeOne) {
  const Grid grid{4, 20};
  const std::vector<double> first = values_of_all_sizes(grid, 3), second = values_of_all_sizes(grid, 4);
  Sums one(first.size()), lane(first.size()), merged(first.size());
  add(grid, first, one);
  add(grid, second, one);
  carry_sums(one);

  add(grid, first, merged);
  add(grid, second, lane);
  carry_sums(lane);
  carry_sums(merged);
  run(MergeSums{lane.high.data(), lane.low.data(), lane.misses.data(), merged.high.data(), merged.low.data(),
                merged.misses.data(), static_cast<Index>(first.size())});
  carry_sums(merged);

  EXPECT_EQ(merged.high, one.high);
  EXPECT_EQ(merged.low, one.low);
}

}  // namespace
}  // namespace tally::generic
