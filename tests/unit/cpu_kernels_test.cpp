#include "core/backends/cpu_kernels.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "tests/unit/kernel_checks.hpp"

namespace tally::cpu {
namespace {

template <class Real>
class CpuKernels : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(CpuKernels, Precisions);

TYPED_TEST(CpuKernels, FeaturesAreMonomialsInOrder) {
  using Real = TypeParam;
  on_every_target([] {
    for_ragged_shapes([](Index rows, Index D, Index padding, Index shift) {
      Padded<Real> x(rows, D, padding, shift);
      x.fill(normal(D));
      Padded<Real> quadratic(rows, 1 + D + D * (D + 1) / 2, padding, shift),
          square(rows, 1 + 2 * D, padding, shift);
      Padded<Real> norm(rows, 2 + D, padding, shift), linear(rows, 1 + D, padding, shift);

      quadratic_features<Real>(x.view(), quadratic.view());
      square_features<Real>(x.view(), square.view());
      norm_features<Real>(x.view(), norm.view());
      linear_features<Real>(x.view(), linear.view());

      for (Index i = 0; i < rows; ++i) {
        std::vector<Real> expected{1};
        for (Index d = 0; d < D; ++d) expected.push_back(x(i, d));
        const auto one_and_x = expected;
        for (Index a = 0; a < D; ++a) {
          for (Index b = a; b < D; ++b) expected.push_back(x(i, a) * x(i, b));
        }
        ASSERT_TRUE(std::equal(expected.begin(), expected.end(), quadratic.view().row(i))) << D;
        ASSERT_TRUE(std::equal(one_and_x.begin(), one_and_x.end(), linear.view().row(i))) << D;
        ASSERT_TRUE(std::equal(one_and_x.begin(), one_and_x.end(), norm.view().row(i))) << D;
        ASSERT_TRUE(std::equal(one_and_x.begin(), one_and_x.end(), square.view().row(i))) << D;
        long double squared_norm = 0;
        for (Index d = 0; d < D; ++d) {
          ASSERT_EQ(square(i, 1 + D + d), x(i, d) * x(i, d));
          squared_norm += static_cast<long double>(x(i, d)) * x(i, d);
        }
        // One rounding to Real of a sum in double.
        const double tolerance = eps<Real> / 2 + static_cast<double>(D) * eps<double>;
        ASSERT_NEAR(norm(i, 1 + D), static_cast<double>(squared_norm),
                    tolerance * static_cast<double>(squared_norm));
      }
      EXPECT_TRUE(quadratic.canaries_live() && square.canaries_live() && norm.canaries_live() &&
                  linear.canaries_live())
          << D;
    });
  });
}

TYPED_TEST(CpuKernels, SomeOfTheMonomialsAreThoseOfThemAll) {
  using Real = TypeParam;
  on_every_target([] {
    for_ragged_shapes([](Index rows, Index D, Index padding, Index shift) {
      const Index all = 1 + D + D * (D + 1) / 2;
      Padded<Real> x(rows, D, padding, shift), whole(rows, all, padding);
      x.fill(normal(D));
      quadratic_features<Real>(x.view(), whole.view());
      for (const Index first : {Index(0), Index(1), D / 2, D, 1 + D, 2 + D, D + all / 3, all - 1})
        for (const Index count : {Index(1), Index(7), D, all}) {
          if (first >= all) continue;
          Padded<Real> part(rows, std::min(count, all - first), padding, shift);
          quadratic_features_from<Real>(first, x.view(), part.view());
          for (Index i = 0; i < rows; ++i)
            for (Index j = 0; j < part.view().cols; ++j) ASSERT_EQ(part(i, j), whole(i, first + j)) << D << " columns, " << first << " and " << j;
          ASSERT_TRUE(part.canaries_live()) << D << " columns, " << count << " from " << first;
        }
    });
  });
}

TYPED_TEST(CpuKernels, SoftmaxAgreesWithLongDouble) {
  using Real = TypeParam;
  on_every_target([] {
    for_ragged_shapes([](Index rows, Index K, Index padding, Index shift) {
      Padded<Real> logits(rows, K, padding, shift);
      logits.fill(normal(K, 20.0));
      const Padded<Real> before = logits;
      std::vector<double> weights(rows + 1, canary<double>), offsets = weights, objective = weights;
      for (Index i = 0; i < rows; ++i)
        weights[i] = static_cast<double>(i), offsets[i] = 3.5 - static_cast<double>(i);

      const double total =
          softmax_rows<Real>(logits.view(), {weights.data(), offsets.data(), objective.data()});

      long double expected_total = 0, size = 0;
      for (Index i = 0; i < rows; ++i) {
        const long double largest = *std::max_element(before.view().row(i), before.view().row(i) + K);
        long double sum = 0, row_sum = 0;
        for (Index k = 0; k < K; ++k) sum += std::exp(before(i, k) - largest);
        for (Index k = 0; k < K; ++k) {
          const long double distance = before(i, k) - largest;
          const auto expected = static_cast<double>(weights[i] * std::exp(distance) / sum);
          // The rounded argument of exp, then exp, sum, quotient and product.
          const double tolerance = eps<Real> * (0.5 * std::abs(static_cast<double>(distance)) + 4.0);
          // Below exp(-77.63), in float, a term counts as 0.
          ASSERT_NEAR(logits(i, k), expected, tolerance * expected + 2e-34 * weights[i]) << K;
          row_sum += logits(i, k);
        }
        ASSERT_NEAR(static_cast<double>(row_sum), weights[i], 4 * eps<Real> * weights[i]);
        const auto lse = static_cast<double>(largest + std::log(sum) + offsets[i]);
        ASSERT_NEAR(objective[i], lse, 4 * eps<Real> * (1 + std::abs(static_cast<double>(largest)))) << K;
        expected_total += weights[i] * lse;
        size += weights[i] * (std::abs(largest) + 10);
      }
      EXPECT_NEAR(total, static_cast<double>(expected_total),
                  4 * eps<Real> * static_cast<double>(size) + 1e-300);
      EXPECT_TRUE(logits.canaries_live()) << K;
      EXPECT_EQ(objective[rows], canary<double>);
    });
  });
}

TYPED_TEST(CpuKernels, ExponentialIsWithinTwoUlpsAndZeroBelowItsLimit) {
  using Real = TypeParam;
  const Real limit = sizeof(Real) == 4 ? Real(-77.63) : Real(-698.69);
  on_every_target([limit] {
    const Index count = 20000;
    Padded<Real> logits(count, 2, 0);
    for (Index i = 0; i < count; ++i) {
      logits(i, 0) = 0;
      logits(i, 1) = static_cast<Real>(1.3 * static_cast<double>(limit) * static_cast<double>(i) / count);
    }
    const Padded<Real> before = logits;

    softmax_rows<Real>(logits.view(), RowTerms{});

    for (Index i = 0; i < count; ++i) {
      const Real x = before(i, 1);
      const long double expected =
          std::exp(static_cast<long double>(x)) / (1 + std::exp(static_cast<long double>(x)));
      if (x < limit) {
        ASSERT_EQ(logits(i, 1), 0) << x;
      } else {
        // Two units for exp, half a unit each for reciprocal and product.
        ASSERT_LE(std::abs(logits(i, 1) / expected - 1), 2.0L * eps<Real>) << x;
      }
    }
  });
}

TYPED_TEST(CpuKernels, SoftmaxOfImpossibleRowsIsZero) {
  using Real = TypeParam;
  on_every_target([] {
    for (Index K = 1; K <= 40; ++K) {
      Padded<Real> logits(3, K, 1);
      logits.fill([] { return -inf; });
      logits(1, K - 1) = 700;
      std::vector<double> objective(3), weights{1, 2, 0};

      const double total = softmax_rows<Real>(logits.view(), {weights.data(), nullptr, objective.data()});

      EXPECT_EQ(objective, (std::vector<double>{-inf, 700, -inf}));
      EXPECT_EQ(total, -inf);
      for (Index k = 0; k < K; ++k) {
        EXPECT_EQ(logits(0, k), 0);
        EXPECT_EQ(logits(1, k), k == K - 1 ? 2 : 0);
        EXPECT_EQ(logits(2, k), 0);
      }
      Padded<Real> weightless(1, K, 0);
      weightless.fill([] { return -inf; });
      EXPECT_EQ(softmax_rows<Real>(weightless.view(), {&weights[2], nullptr, nullptr}), 0);
    }
  });
}

TYPED_TEST(CpuKernels, MaximumOfImpossibleRowsIsMinusInfinity) {
  using Real = TypeParam;
  on_every_target([] {
    for (Index K = 1; K <= 40; ++K) {
      Padded<Real> logits(1, K, 0);
      logits.fill([] { return -inf; });
      std::int32_t label = -1;

      const double total = argmax_rows<Real>(logits.view(), RowTerms{}, &label);

      EXPECT_EQ(total, -inf);
      EXPECT_EQ(label, 0);
      for (Index k = 0; k < K; ++k) EXPECT_EQ(logits(0, k), k == 0 ? 1 : 0);
    }
  });
}

TYPED_TEST(CpuKernels, InvalidLogitsGiveNanNeverANumber) {
  using Real = TypeParam;
  on_every_target([] {
    Real nan_with_payload;  // as R writes a missing value
    if constexpr (sizeof(Real) == 4) {
      const std::uint32_t bits = 0x7fc007a2u;
      std::memcpy(&nan_with_payload, &bits, sizeof bits);
    } else {
      const std::uint64_t bits = 0x7ff80000000007a2u;
      std::memcpy(&nan_with_payload, &bits, sizeof bits);
    }
    for (const Real bad : {static_cast<Real>(nan), nan_with_payload, static_cast<Real>(inf)}) {
      for (const double others : {0.0, -inf}) {
        for (Index K = 1; K <= 40; ++K) {
          for (Index at = 0; at < K; ++at) {
            Padded<Real> logits(1, K, 0);
            logits.fill([others] { return others; });
            logits(0, at) = bad;
            Padded<Real> for_argmax = logits;
            double objective = 0;

            EXPECT_TRUE(std::isnan(softmax_rows<Real>(logits.view(), {nullptr, nullptr, &objective})))
                << K << at;
            EXPECT_TRUE(std::isnan(objective));
            EXPECT_TRUE(std::isnan(logits(0, at)));
            std::int32_t label = -1;
            const double maximum = argmax_rows<Real>(for_argmax.view(), RowTerms{}, &label);
            EXPECT_TRUE(std::isnan(bad) ? std::isnan(maximum) : maximum == inf && label == at);
            EXPECT_GE(label, 0);
            EXPECT_LT(label, K);
          }
        }
      }
    }
  });
}

TYPED_TEST(CpuKernels, ArgmaxTakesTheFirstMaximum) {
  using Real = TypeParam;
  on_every_target([] {
    for_ragged_shapes([](Index rows, Index K, Index padding, Index shift) {
      Padded<Real> logits(rows, K, padding, shift);
      logits.fill([draw = normal(K)]() mutable { return std::round(draw()); });
      if (rows > 0 && K > 1) logits.view().row(0)[0] = Real(-0.0);
      const Padded<Real> before = logits;
      std::vector<std::int32_t> labels(rows + 1, -7);
      std::vector<double> weights(rows + 1), offsets(rows + 1, 0.5), objective(rows + 1, canary<double>);
      for (Index i = 0; i < rows; ++i) weights[i] = static_cast<double>(i);

      const double total =
          argmax_rows<Real>(logits.view(), {weights.data(), offsets.data(), objective.data()}, labels.data());

      double expected_total = 0;
      for (Index i = 0; i < rows; ++i) {
        const Real* row = before.view().row(i);
        const Index label = std::max_element(row, row + K) - row;
        ASSERT_EQ(labels[i], label);
        ASSERT_EQ(objective[i], static_cast<double>(row[label]) + 0.5);
        for (Index k = 0; k < K; ++k) ASSERT_EQ(logits(i, k), k == label ? static_cast<Real>(weights[i]) : 0);
        expected_total += weights[i] * (static_cast<double>(row[label]) + 0.5);
      }
      EXPECT_EQ(total, expected_total);
      EXPECT_EQ(labels[rows], -7);
      EXPECT_TRUE(logits.canaries_live());
    });
  });
}

TYPED_TEST(CpuKernels, RowsAreCentredThenScaledThenRoundedOnce) {
  using Real = TypeParam;
  on_every_target([] {
    for_ragged_shapes([](Index rows, Index D, Index padding, Index shift) {
      Padded<double> raw(rows, D, padding, shift), centre(1, D, 0), scale(1, D, 0);
      raw.fill(normal(D, 1e3));
      centre.fill(normal(D + 1));
      scale.fill([power = 0]() mutable { return std::ldexp(1.0, power++ % 9 - 4); });
      Padded<Real> out(rows, D, padding, shift);

      standardise_rows<Real>(raw.view(), centre.view().data, scale.view().data, out.view());

      for (Index i = 0; i < rows; ++i) {
        for (Index d = 0; d < D; ++d) {
          ASSERT_EQ(out(i, d), static_cast<Real>((raw(i, d) - centre(0, d)) * scale(0, d)));
        }
      }
      EXPECT_TRUE(out.canaries_live());
    });
  });
}

TYPED_TEST(CpuKernels, AlignmentAndStrideDoNotChangeBits) {
  using Real = TypeParam;
  on_every_target([] {
    const Index rows = 7;
    for (const Index K : {3, 19, 50, 64, 70}) {
      std::vector<Real> softmax, norms;
      std::vector<double> totals;
      for (Index shift = 0; shift < 9; ++shift) {
        Padded<Real> logits(rows, K, shift % 5, shift), x(rows, K, shift % 3, shift),
            norm(rows, 2 + K, 0, shift);
        logits.fill(normal(K, 5.0));
        x.fill(normal(K));

        const std::vector<double> total{softmax_rows<Real>(logits.view(), RowTerms{})};
        norm_features<Real>(x.view(), norm.view());

        if (shift == 0) softmax = logits.elements(), totals = total, norms = norm.elements();
        EXPECT_TRUE(same_bits(logits.elements(), softmax));
        EXPECT_TRUE(same_bits(norm.elements(), norms));
        EXPECT_TRUE(same_bits(total, totals));
      }
    }
  });
}

}  // namespace
}  // namespace tally::cpu
