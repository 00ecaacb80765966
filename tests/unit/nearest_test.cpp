#include "core/backends/nearest.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/unit/kernel_checks.hpp"

namespace tally::cpu {
namespace {

template <class Real>
class Nearest : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(Nearest, Precisions);

// Centres as the kernel reads them.
template <class Real>
struct Prepared {
  const Padded<double>& exact;
  std::vector<double> half_norms;
  std::vector<Real> panels;
  double largest_norm = 0;

  explicit Prepared(const Padded<double>& centres) : exact(centres) {
    const Index K = exact.view().rows, D = exact.view().cols;
    for (Index k = 0; k < K; ++k) {
      double squared = 0;
      for (Index d = 0; d < D; ++d) squared += exact(k, d) * exact(k, d);
      half_norms.push_back(squared / 2);
      largest_norm = std::max(largest_norm, std::sqrt(squared));
    }
    std::vector<double> unrounded(static_cast<std::size_t>(panels_size(K, D)));
    write_panels(exact.view(), half_norms.data(), unrounded.data());
    for (const double value : unrounded) panels.push_back(static_cast<Real>(value));
  }

  double find(const Padded<Real>& x, const RowTerms& terms, std::vector<std::int32_t>& labels,
              const RememberedRows& remembered = {}) const {
    return nearest_rows<Real>(x.view(), {exact.view(), half_norms.data(), &largest_norm, panels.data()}, terms,
                              labels.data(), remembered);
  }
};

template <class Real>
long double squared_distance(const Padded<Real>& x, Index i, const Padded<double>& centres, Index k) {
  long double sum = 0;
  for (Index d = 0; d < x.view().cols; ++d) {
    const long double difference = static_cast<long double>(x(i, d)) - centres(k, d);
    sum += difference * difference;
  }
  return sum;
}

template <class Real>
Index nearest_by_definition(const Padded<Real>& x, Index i, const Padded<double>& centres) {
  Index best = 0;
  for (Index k = 1; k < centres.view().rows; ++k) {
    if (squared_distance(x, i, centres, k) < squared_distance(x, i, centres, best)) best = k;
  }
  return best;
}

TYPED_TEST(Nearest, NearestIsTheArgminOfDistances) {
  using Real = TypeParam;
  on_every_target([] {
    for_ragged_shapes([](Index rows, Index K, Index padding, Index shift) {
      const Index D = 1 + K * 13 % 70;
      Padded<Real> x(rows, D, padding, shift);
      x.fill(normal(K));
      Padded<double> centres(K, D, padding, shift);
      centres.fill(normal(K + 100));
      std::vector<std::int32_t> labels(rows + 1, -7);
      std::vector<double> weights(rows + 1), distances(rows + 1, canary<double>);
      for (Index i = 0; i < rows; ++i) weights[i] = static_cast<double>(i);

      const double total =
          Prepared<Real>(centres).find(x, {weights.data(), nullptr, distances.data()}, labels);

      long double expected_total = 0;
      for (Index i = 0; i < rows; ++i) {
        ASSERT_EQ(labels[i], nearest_by_definition(x, i, centres));
        const long double expected = squared_distance(x, i, centres, labels[i]);
        ASSERT_NEAR(distances[i], static_cast<double>(expected), 1e-14 * static_cast<double>(expected));
        expected_total += weights[i] * expected;
      }
      EXPECT_NEAR(total, static_cast<double>(expected_total), 1e-14 * static_cast<double>(expected_total));
      EXPECT_EQ(labels[rows], -7);
      EXPECT_EQ(distances[rows], canary<double>);
    });
  });
}

// Panels that outgrow the nearest cache, and more rows than a slice.
TYPED_TEST(Nearest, NearestOfManyDimensionsIsTheArgminOfDistances) {
  using Real = TypeParam;
  on_every_target([] {
    for (const Index K : {1, 63, 66})
      for (const Index D : {128, 129, 257, 384, 385}) {
        constexpr Index rows = 200;
        Padded<Real> x(rows, D, 2);
        x.fill(normal(D));
        Padded<double> centres(K, D, 1);
        centres.fill(normal(K + 100, 0.1));
        std::vector<std::int32_t> labels(rows);
        std::vector<double> distances(rows);

        Prepared<Real>(centres).find(x, {nullptr, nullptr, distances.data()}, labels);

        for (Index i = 0; i < rows; ++i) {
          ASSERT_EQ(labels[i], nearest_by_definition(x, i, centres)) << K << " centres, " << D << " dimensions, row " << i;
          const auto expected = static_cast<double>(squared_distance(x, i, centres, labels[i]));
          ASSERT_NEAR(distances[i], expected, 1e-14 * expected);
        }
      }
  });
}

// Far from the origin the scores cannot tell the centres apart, yet every difference is a small whole
// number of units: distances are exact in double and many of them tie.
TYPED_TEST(Nearest, NearestIsExactFarFromTheOriginAndTiesGoToTheLowest) {
  using Real = TypeParam;
  const double offset = sizeof(Real) == 4 ? 0x1p20 : 0x1p48;
  on_every_target([offset] {
    for (const Index K : {2, 3, 17, 50, 70}) {
      for (const Index D : {1, 2, 9, 33, 300}) {
        auto grid = [draw = normal(K * D, 2.0), offset]() mutable { return offset + std::round(draw()); };
        Padded<Real> x(9, D, 1);
        x.fill(grid);
        Padded<double> centres(K, D, 0);
        centres.fill(grid);
        for (Index d = 0; d < D; ++d) centres(K - 1, d) = centres(0, d);
        std::vector<std::int32_t> labels(9);

        Prepared<Real>(centres).find(x, RowTerms{}, labels);

        for (Index i = 0; i < 9; ++i)
          ASSERT_EQ(labels[i], nearest_by_definition(x, i, centres)) << K << " " << D;
      }
    }
  });
}

// Centres that move as k-means moves them, ever less, with ties and far from the origin: what is remembered changes no bit.
TYPED_TEST(Nearest, RememberedRowsChangeNoBit) {
  using Real = TypeParam;
  on_every_target([] {
    for (const double offset : {0.0, sizeof(Real) == 4 ? 0x1p20 : 0x1p48})
      for (const Index K : {1, 2, 17, 70})
        for (const Index D : {1, 2, 9, 33, 260}) {
          constexpr Index rows = 203;
          auto grid = [draw = normal(K * D, 3.0), offset]() mutable { return offset + std::round(draw()); };
          Padded<Real> x(rows, D, 1);
          x.fill(grid);
          Padded<double> centres(K, D, 0), before(K, D, 0);
          centres.fill(grid);
          std::vector<RememberedRow> memory(rows);
          std::vector<double> moved(static_cast<std::size_t>(K), 0.0);
          auto step = normal(7);
          for (int pass = 0; pass < 12; ++pass) {
            std::vector<std::int32_t> labels(rows), expected_labels(rows);
            std::vector<double> distances(rows), expected_distances(rows);
            const Prepared<Real> prepared(centres);

            const double total =
                prepared.find(x, {nullptr, nullptr, distances.data()}, labels, {memory.data(), moved.data()});

            const double expected = prepared.find(x, {nullptr, nullptr, expected_distances.data()}, expected_labels);
            ASSERT_EQ(labels, expected_labels) << K << " " << D << " pass " << pass;
            ASSERT_EQ(distances, expected_distances);
            ASSERT_EQ(total, expected);
            for (Index k = 0; k < K; ++k)
              for (Index d = 0; d < D; ++d) {
                before(k, d) = centres(k, d);
                if (pass % 3 != 2) centres(k, d) += std::ldexp(step(), -2 * pass);
              }
            add_moves(before.view(), centres.view(), moved.data());
          }
        }
  });
}

// Rows near their centre, as long as centres move less than what parts them: a search would write anew what is remembered.
TYPED_TEST(Nearest, RememberedRowsAreNotSearchedAgain) {
  using Real = TypeParam;
  on_every_target([] {
    constexpr Index K = 20, D = 5, rows = 60;
    Padded<double> centres(K, D, 0);
    for (Index k = 0; k < K; ++k)
      for (Index d = 0; d < D; ++d) centres(k, d) = d == 0 ? 10.0 * static_cast<double>(k) : 0;
    Padded<Real> x(rows, D, 0);
    x.fill(normal(3, 0.5));
    for (Index i = 0; i < rows; ++i) x(i, 0) += static_cast<Real>(10 * (i % K));
    std::vector<std::int32_t> first(rows), again(rows);
    std::vector<RememberedRow> memory(rows);
    std::vector<double> moved(K, 0.0);
    const Prepared<Real> prepared(centres);
    prepared.find(x, {}, first, {memory.data(), moved.data()});

    moved.assign(K, 2.0);
    const std::vector<RememberedRow> kept = memory;
    const double total = prepared.find(x, {}, again, {memory.data(), moved.data()});

    EXPECT_EQ(again, first);
    EXPECT_GT(total, 0);
    for (std::size_t i = 0; i < memory.size(); ++i) EXPECT_EQ(memory[i].others, kept[i].others) << "searched row " << i;
    moved.assign(K, 20.0);
    prepared.find(x, {}, again, {memory.data(), moved.data()});
    EXPECT_GT(memory.front().others, 20.0f);  // searched, and remembered with what centres have moved by now
  });
}

TEST(Moves, AreTheLargestOfTheOthers) {
  const std::vector<double> before = {0, 0, 5, 5, 1, 1}, after = {3, 4, 5, 5, 1, 2};
  std::vector<double> moved = {100, 100, 100};

  add_moves({before.data(), 3, 2}, {after.data(), 3, 2}, moved.data());

  EXPECT_NEAR(moved[0], 101, 1e-6);
  EXPECT_NEAR(moved[1], 105, 1e-6);
  EXPECT_NEAR(moved[2], 105, 1e-6);
  EXPECT_GE(moved[1], 105);
}

// Two centres mirrored about the row, the second one moved towards it by one unit in the last place of
// double: it wins although neither scores nor centres rounded to float can see the difference.
TYPED_TEST(Nearest, OneUlpDecides) {
  using Real = TypeParam;
  on_every_target([] {
    for (const Index D : {1, 2, 8, 20}) {
      Padded<Real> x(5, D, 0);
      x.fill([] { return 1.0; });
      Padded<double> centres(20, D, 0);
      centres.fill([] { return 9.0; });
      // All but the last coordinate agree with the row, so that the distance keeps the last bit of the
      // difference.
      for (Index d = 0; d < D; ++d) centres(4, d) = centres(11, d) = 1.0;
      centres(4, D - 1) = 0.5;
      centres(11, D - 1) = 1.5;
      std::vector<std::int32_t> tied(5), decided(5);

      Prepared<Real>(centres).find(x, RowTerms{}, tied);
      centres(11, D - 1) = std::nextafter(1.5, 0.0);
      Prepared<Real>(centres).find(x, RowTerms{}, decided);

      EXPECT_EQ(tied, std::vector<std::int32_t>(5, 4)) << D;
      EXPECT_EQ(decided, std::vector<std::int32_t>(5, 11)) << D;
    }
  });
}

TYPED_TEST(Nearest, NearestSurvivesOverflowAndNan) {
  using Real = TypeParam;
  on_every_target([] {
    const double huge = sizeof(Real) == 4 ? 1e30 : 1e120;
    Padded<Real> x(3, 2, 0);
    x.fill([huge] { return huge; });
    x(2, 0) = static_cast<Real>(nan);
    Padded<double> centres(3, 2, 0);
    for (Index k = 0; k < 3; ++k) centres(k, 0) = centres(k, 1) = huge * static_cast<double>(k);
    Prepared<Real> prepared(centres);
    std::vector<std::int32_t> labels(3);
    std::vector<double> distances(3);

    if (sizeof(Real) == 8) prepared.largest_norm = 1e300;
    prepared.find(x, {nullptr, nullptr, distances.data()}, labels);

    EXPECT_EQ(labels[0], 1);
    EXPECT_EQ(labels[1], 1);
    EXPECT_GE(labels[2], 0);
    EXPECT_LT(labels[2], 3);
    EXPECT_TRUE(std::isnan(distances[2]));
  });
}

TYPED_TEST(Nearest, RowsAreAddedToTheirLabels) {
  using Real = TypeParam;
  on_every_target([] {
    for_ragged_shapes([](Index rows, Index D, Index padding, Index shift) {
      Padded<Real> x(rows, D, padding, shift);
      x.fill([draw = normal(D, 100.0)]() mutable { return std::round(draw()); });
      std::vector<std::int32_t> labels;
      std::vector<double> weights;
      for (Index i = 0; i < rows; ++i) {
        labels.push_back(static_cast<std::int32_t>(i % 3));
        weights.push_back(static_cast<double>(i));
      }
      for (const bool weighted : {false, true}) {
        Padded<double> sums(3, 1 + D, padding, shift), expected(3, 1 + D, padding, shift), origins(3, D, padding, shift);
        origins.fill([draw = normal(D + 1, 10.0)]() mutable { return std::round(draw()); });
        sums.fill([] { return 0.25; });
        expected.fill([] { return 0.25; });
        for (Index i = 0; i < rows; ++i) {
          const double weight = weighted ? weights[i] : 1.0;
          expected(labels[i], 0) += weight;
          for (Index d = 0; d < D; ++d)
            expected(labels[i], 1 + d) += weight * (static_cast<double>(x(i, d)) - origins(labels[i], d));
        }

        add_rows_by_label<Real>(x.view(), labels.data(), weighted ? weights.data() : nullptr, origins.view(),
                                sums.view());

        ASSERT_EQ(sums.elements(), expected.elements()) << D;
        EXPECT_TRUE(sums.canaries_live());
      }
    });
  });
}

// More centres than a panel holds, more panels than stay in cache at once, more rows than a slice.
TYPED_TEST(Nearest, PanelsAndSlicesAreSearchedToTheirEnds) {
  using Real = TypeParam;
  on_every_target([] {
    for (const Index K : {64, 65, 200}) {
      for (const Index D : {1, 5, 700}) {
        const Index rows = D == 700 ? 9 : 400;
        Padded<Real> x(rows, D, 3);
        x.fill(normal(K));
        Padded<double> centres(K, D, 1);
        centres.fill(normal(D));
        std::vector<std::int32_t> labels(static_cast<std::size_t>(rows));

        Prepared<Real>(centres).find(x, RowTerms{}, labels);

        for (Index i = 0; i < rows; ++i)
          ASSERT_EQ(labels[static_cast<std::size_t>(i)], nearest_by_definition(x, i, centres)) << K << " " << D << " " << i;
      }
    }
  });
}

TYPED_TEST(Nearest, AlignmentAndStrideDoNotChangeBits) {
  using Real = TypeParam;
  on_every_target([] {
    const Index rows = 7;
    for (const Index D : {3, 19, 50, 64, 70}) {
      std::vector<double> first;
      for (Index shift = 0; shift < 9; ++shift) {
        Padded<Real> x(rows, D, shift % 3, shift);
        x.fill(normal(D));
        Padded<double> centres(4, D, shift, shift);
        centres.fill(normal(D));
        std::vector<std::int32_t> labels(rows);

        const std::vector<double> inertia{Prepared<Real>(centres).find(x, RowTerms{}, labels)};

        if (shift == 0) first = inertia;
        EXPECT_TRUE(same_bits(inertia, first));
      }
    }
  });
}

}  // namespace
}  // namespace tally::cpu
