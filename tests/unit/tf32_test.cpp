#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/backends/generic_lane.hpp"
#include "core/backends/generic_nearest_tf32.hpp"

namespace tally {
namespace {

using generic::to_tf32;

TEST(Tf32, IsTheNearestOfElevenBitsAndTiesGoAwayFromZero) {
  EXPECT_EQ(to_tf32(1.0F), 1.0F);
  EXPECT_EQ(to_tf32(1.0F + 0x1p-10F), 1.0F + 0x1p-10F);
  EXPECT_EQ(to_tf32(1.0F + 0x1p-11F), 1.0F + 0x1p-10F);
  EXPECT_EQ(to_tf32(-1.0F - 0x1p-11F), -1.0F - 0x1p-10F);
  EXPECT_EQ(to_tf32(1.0F + 0x1p-11F - 0x1p-23F), 1.0F);
  EXPECT_EQ(to_tf32(2.0F - 0x1p-23F), 2.0F);
  EXPECT_EQ(to_tf32(-0.0F), 0.0F);
  EXPECT_TRUE(std::isnan(to_tf32(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_EQ(to_tf32(-std::numeric_limits<float>::infinity()), -std::numeric_limits<float>::infinity());
}

// Tiles whose products are exact: (16, 8) times (8, 8).
struct MultiplyOnce {
  static constexpr int threads = 64;
  struct Shared {};
  struct Own {
    float a[4], b[2], c[4];
  };
  float (*a)[8], (*b)[8], (*c)[8];

  template <class Group>
  void operator()(Index, Group& group, Shared&) const {
    group.each([&](int thread, Own& own) {
      const generic::TileOf tile{thread % 32};
      for (int i = 0; i < 4; ++i) own.a[i] = a[tile.a_row(i)][tile.a_column(i)] + static_cast<float>(thread / 32);
      for (int i = 0; i < 2; ++i) own.b[i] = b[tile.b_row(i)][tile.b_column()];
      for (int i = 0; i < 4; ++i) own.c[i] = 100;
    });
    group.multiply_tf32([](Own& own) -> generic::Pack<float, 4> { return {{own.a[0], own.a[1], own.a[2], own.a[3]}}; },
                        [](Own& own) -> generic::Pack<float, 2> { return {{own.b[0], own.b[1]}}; },
                        [](Own& own) -> float(&)[4] { return own.c; });
    group.each([&](int thread, Own& own) {
      const generic::TileOf tile{thread % 32};
      if (thread >= 32)
        for (int i = 0; i < 4; ++i) c[tile.c_row(i)][tile.c_column(i)] = own.c[i];
    });
  }
};

TEST(Tf32, TilesAreMultiplied) {
  float a[16][8], b[8][8], c[16][8];
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < 8; ++k) a[i][k] = static_cast<float>(i - k * k);
  for (int k = 0; k < 8; ++k)
    for (int j = 0; j < 8; ++j) b[k][j] = static_cast<float>(k * j + 1);

  generic::RunSerially<MultiplyOnce>{{a, b, c}}(0);

  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j) {
      float expected = 100;
      for (int k = 0; k < 8; ++k) expected += (a[i][k] + 1) * b[k][j];
      EXPECT_EQ(c[i][j], expected) << i << ", " << j;
    }
}

// Rows and centres as a search reads them; rows begin wherever `padding` puts them.
struct Table {
  Index count, columns, stride;
  std::vector<float> values;

  Table(Index rows, Index cols, Index padding) : count(rows), columns(cols), stride(cols + padding) {
    values.assign(static_cast<std::size_t>(rows * stride), -77);
  }
  float& operator()(Index i, Index j) { return values[static_cast<std::size_t>(i * stride + j)]; }
  MatrixView<const float> view() const { return {values.data(), count, columns, stride}; }
};

class Centres {
 public:
  Centres(Index count, Index columns) : count_(count), columns_(columns) {
    exact_.resize(static_cast<std::size_t>(count * columns));
  }
  double& operator()(Index k, Index d) { return exact_[static_cast<std::size_t>(k * columns_ + d)]; }
  cpu::Centres<float> view() {
    const MatrixView<const double> exact(exact_.data(), count_, columns_);
    half_norms_.clear();
    largest_ = 0;
    for (Index k = 0; k < count_; ++k) {
      double norm = 0;
      for (Index d = 0; d < columns_; ++d) norm += exact(k, d) * exact(k, d);
      half_norms_.push_back(norm / 2);
      largest_ = std::max(largest_, std::sqrt(norm));
    }
    std::vector<double> panels(static_cast<std::size_t>(cpu::panels_size(count_, columns_)));
    cpu::write_panels(exact, half_norms_.data(), panels.data());
    panels_.assign(panels.begin(), panels.end());
    return {exact, half_norms_.data(), &largest_, panels_.data()};
  }

 private:
  Index count_, columns_;
  double largest_ = 0;
  std::vector<double> exact_, half_norms_;
  std::vector<float> panels_;
};

struct Nearest {
  std::vector<std::int32_t> labels;
  std::vector<double> distances;
};

Nearest by_definition(Table& x, Centres& centres, Index K) {
  Nearest nearest;
  for (Index i = 0; i < x.count; ++i) {
    long double best = std::numeric_limits<long double>::infinity();
    std::int32_t label = 0;
    for (Index k = 0; k < K; ++k) {
      long double distance = 0;
      for (Index d = 0; d < x.columns; ++d) {
        const long double difference = static_cast<long double>(x(i, d)) - centres(k, d);
        distance += difference * difference;
      }
      if (distance < best) {
        best = distance;
        label = static_cast<std::int32_t>(k);
      }
    }
    nearest.labels.push_back(label);
    nearest.distances.push_back(static_cast<double>(best));
  }
  return nearest;
}

template <int tiles>
Nearest by_tensor_cores(const Table& x, Centres& centres, double bound_share = 1) {
  Nearest nearest;
  const auto rows = static_cast<std::size_t>(x.count);
  std::vector<double> sums(rows);
  nearest.labels.assign(rows, -7);
  nearest.distances.assign(rows, -7);
  const generic::NearestRowsTf32<tiles> kernel{x.view(), centres.view(), {nullptr, nullptr, nearest.distances.data()},
                                               nearest.labels.data(), sums.data(), bound_share};
  GenericLane().for_each_group(kernel);
  return nearest;
}

// A double's sums of D squares, in any order.
constexpr double sum_tolerance = 1e-14;

void expect_same(const Nearest& found, const Nearest& expected, const char* what) {
  ASSERT_EQ(found.labels, expected.labels) << what;
  for (std::size_t i = 0; i < expected.distances.size(); ++i)
    ASSERT_NEAR(found.distances[i], expected.distances[i], sum_tolerance * expected.distances[i]) << what << i;
}

// Rows near 3 in every column and centres in twos, threes or more, so close to one another that TF32 confuses all of
// each: two centres a relative 2^-9 apart, then 2^-12, and so on. The rows are far closer to some than to others.
std::pair<Table, Centres> confusing(Index rows, Index columns, Index K, Index alike, Index padding) {
  std::mt19937_64 engine(static_cast<std::uint64_t>(K * 100 + columns));
  std::normal_distribution<double> normal;
  Table x(rows, columns, padding);
  for (Index i = 0; i < rows; ++i)
    for (Index d = 0; d < columns; ++d) x(i, d) = static_cast<float>(3 + normal(engine));
  Centres centres(K, columns);
  for (Index k = 0; k < K; ++k)
    for (Index d = 0; d < columns; ++d)
      centres(k, d) = k % alike == 0 ? 3 + normal(engine)
                                     : centres(k - k % alike, d) * (1 + std::ldexp(normal(engine), -9 - 3 * static_cast<int>(k % 4)));
  return {std::move(x), std::move(centres)};
}

TEST(NearestByTf32, NearTiesAreSettledExactly) {
  for (const Index alike : {1, 2, 3, 7})
    for (const Index D : {1, 3, 8, 16, 17, 40}) {
      auto [x, centres] = confusing(300, D, 60, alike, 0);
      expect_same(by_tensor_cores<8>(x, centres), by_definition(x, centres, 60), "60 centres");
    }
}

// A share of the bound must not do: else the test above would not see a bound that is too small.
TEST(NearestByTf32, ASmallerBoundFindsWrongCentres) {
  auto [x, centres] = confusing(300, 40, 60, 2, 0);
  const Nearest expected = by_definition(x, centres, 60);

  for (const double share : {0.0, 0.001, 0.01}) EXPECT_NE(by_tensor_cores<8>(x, centres, share).labels, expected.labels) << share;
}

// Rounding adds 2^-10 of each product to one score and nothing to the other, so the wrong centre comes out ahead by a
// quarter of that: an eighth of what the margin, twice the bound, allows.
TEST(NearestByTf32, TheBoundCoversInputsThatAllRoundUp) {
  for (const Index D : {8, 32, 128}) {
    Table x(1, D + 1, 0);
    Centres centres(2, D + 1);
    const double half_way = 1 + 0x1p-11;  // rounds up by 2^-11
    for (Index d = 0; d < D; ++d) {
      x(0, d) = static_cast<float>(half_way);
      centres(0, d) = half_way;
      centres(1, d) = half_way - 0x1p-20;  // rounds down
    }
    x(0, D) = 0;
    centres(0, D) = std::sqrt(1.5 * 0x1p-10 * static_cast<double>(D));

    EXPECT_EQ(by_definition(x, centres, 2).labels.front(), 1);
    EXPECT_EQ(by_tensor_cores<2>(x, centres).labels.front(), 1) << D;
    EXPECT_EQ(by_tensor_cores<2>(x, centres, 0.1).labels.front(), 0) << D;
  }
}

// Sizes about those of tiles, panels, stages and groups of rows; rows that can be loaded by fours and rows that cannot;
// the last centre repeats another, so that rows tie.
TEST(NearestByTf32, ShapesDoNotMatter) {
  GenericLane lane;
  lane.allow_tf32();
  for (const Index K : {1, 2, 15, 16, 17, 32, 33, 64, 65, 150})
    for (const Index D : {1, 4, 15, 16, 20, 33})
      for (const Index rows : {1, 31, 129}) {
        auto [x, centres] = confusing(rows, D, K, 2, D % 8 == 4 ? 4 : D % 3);
        for (Index d = 0; d < D; ++d) centres(K - 1, d) = centres(K / 2, d);
        Nearest found;
        found.labels.assign(static_cast<std::size_t>(rows), -7);
        found.distances.assign(static_cast<std::size_t>(rows), -7);
        double total = 0;

        lane.nearest_rows<float>(x.view(), centres.view(), {nullptr, nullptr, found.distances.data()}, found.labels.data(),
                                 &total);

        const std::string what = std::to_string(K) + " centres, " + std::to_string(D) + " columns: ";
        expect_same(found, by_definition(x, centres, K), what.c_str());
        double sum = 0;
        for (const double distance : found.distances) sum += distance;
        ASSERT_NEAR(total, sum, 1e-12 * sum) << what;
      }
}

TEST(NearestByTf32, LoadsByFoursDoNotChangeBits) {
  auto [x, centres] = confusing(200, 20, 40, 2, 0);
  auto [ragged, same] = confusing(200, 20, 40, 2, 3);

  const Nearest packed = by_tensor_cores<8>(x, centres), single = by_tensor_cores<8>(ragged, same);

  EXPECT_EQ(packed.labels, single.labels);
  EXPECT_EQ(packed.distances, single.distances);
}

// Far from the origin, on a grid, scores cannot tell the centres apart, distances are exact and many tie; beyond what a
// float holds, and among the smallest, nothing is certain but distances.
TEST(NearestByTf32, ExtremesAreSettledExactly) {
  for (const double offset : {0x1p20, 1e30}) {
    auto [x, centres] = confusing(150, 5, 20, 1, 0);
    for (Index i = 0; i < x.count; ++i)
      for (Index d = 0; d < 5; ++d) x(i, d) = static_cast<float>(offset + std::round(x(i, d)));
    for (Index k = 0; k < 20; ++k)
      for (Index d = 0; d < 5; ++d) centres(k, d) = offset + std::round(centres(k, d));
    expect_same(by_tensor_cores<4>(x, centres), by_definition(x, centres, 20), "far");
  }
  for (const double scale : {1e-20, 1e-38, 1e-42}) {
    auto [x, centres] = confusing(150, 5, 20, 1, 0);
    for (float& value : x.values) value = static_cast<float>(value * scale);
    for (Index k = 0; k < 20; ++k)
      for (Index d = 0; d < 5; ++d) centres(k, d) *= scale;
    EXPECT_EQ(by_tensor_cores<4>(x, centres).labels, by_definition(x, centres, 20).labels) << scale;
  }
}

TEST(NearestByTf32, ValuesThatAreNoNumbersGetSomeLabel) {
  Table x(3, 2, 0);
  Centres centres(3, 2);
  for (Index k = 0; k < 3; ++k) centres(k, 0) = centres(k, 1) = static_cast<double>(k);
  x(0, 0) = std::numeric_limits<float>::quiet_NaN();
  x(0, 1) = 1;
  x(1, 0) = x(1, 1) = std::numeric_limits<float>::infinity();
  x(2, 0) = x(2, 1) = 2;

  const Nearest found = by_tensor_cores<2>(x, centres);

  for (const std::int32_t label : found.labels) {
    EXPECT_GE(label, 0);
    EXPECT_LT(label, 3);
  }
  EXPECT_EQ(found.labels[2], 2);
  EXPECT_TRUE(std::isnan(found.distances[0]));
}

// Products of floats round what they multiply only where they may; those of doubles never.
TEST(Tf32, ProductsRoundOnlyWhereTheyMay) {
  const float value = 1 + 0x1p-12F;
  const double precise = value;
  for (const bool allowed : {false, true}) {
    GenericLane lane;
    if (allowed) lane.allow_tf32();
    float product = 0;
    double sum = 0, double_product = 0;

    lane.multiply_nt<float>({&value, 1, 1}, {&value, 1, 1}, {&product, 1, 1});
    lane.add_multiply_tn(MatrixView<const float>(&value, 1, 1), MatrixView<const float>(&value, 1, 1), {&sum, 1, 1});
    lane.multiply_nt<double>({&precise, 1, 1}, {&precise, 1, 1}, {&double_product, 1, 1});

    EXPECT_EQ(product, allowed ? 1.0F : value * value);
    EXPECT_EQ(sum, static_cast<double>(allowed ? 1.0F : value * value));
    EXPECT_EQ(double_product, precise * precise);
  }
}

}  // namespace
}  // namespace tally
