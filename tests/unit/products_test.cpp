#include "core/backends/products.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

#include "tests/unit/kernel_checks.hpp"

namespace tally::cpu {
namespace {

template <class Real>
class Products : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(Products, Reals);

// What is summed, rows and columns of the result: empty, single, fractions of a vector, more than a panel holds and than rows are
// summed at once, and strides that fill few sets of a cache.
struct Shape {
  Index inner, rows, columns;
};
const std::vector<Shape> shapes{{0, 3, 2},   {1, 1, 1},   {1, 7, 9},     {2, 5, 1},    {5, 1, 17},    {17, 13, 3},  {31, 8, 2},
                                {33, 64, 4}, {65, 20, 64}, {127, 6, 33}, {128, 12, 16}, {129, 193, 50}, {200, 9, 34}, {385, 11, 65},
                                {561, 7, 32}, {40, 130, 18}, {193, 260, 41}};

// Random operands and their product, c = a b' or c = before + a' b.
template <class Real>
struct Nt {
  Padded<Real> a, b, c;

  explicit Nt(const Shape& shape)
      : a(shape.rows, shape.inner, 3, 1), b(shape.columns, shape.inner, 2), c(shape.rows, shape.columns, 1, 2) {
    a.fill(normal(1));
    b.fill(normal(2));
    multiply_nt(std::as_const(a).view(), std::as_const(b).view(), c.view());
  }
};

template <class Real>
struct Tn {
  Padded<Real> a, b;
  Padded<double> before, c;

  explicit Tn(const Shape& shape)
      : a(shape.inner, shape.rows, 1, 2), b(shape.inner, shape.columns, 2, 1), before(shape.rows, shape.columns, 3), c(before) {
    a.fill(normal(3));
    b.fill(normal(4));
    c.fill(normal(5, 10));
    before = c;
    add_multiply_tn(std::as_const(a).view(), std::as_const(b).view(), c.view());
  }
};

// Elements of exact products in extended precision, and how far rounding may move a chain of `inner` products: gamma_n
// of the sum of magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1).
template <class Real>
void expect_near(double actual, const std::function<std::pair<Real, Real>(Index)>& factors, Index inner, double start) {
  long double sum = start, magnitude = std::abs(start);
  for (Index j = 0; j < inner; ++j) {
    const auto [a, b] = factors(j);
    sum += static_cast<long double>(a) * b;
    magnitude += std::abs(static_cast<long double>(a) * b);
  }
  EXPECT_LE(std::abs(actual - sum), static_cast<double>(inner + 2) * eps<Real> * magnitude);
}

TYPED_TEST(Products, NtIsTheSumOfProductsAndTouchesNothingElse) {
  using Real = TypeParam;
  on_every_target([] {
    for (const auto& [inner, rows, columns] : shapes) {
      SCOPED_TRACE(testing::Message() << rows << " x " << inner << " x " << columns);
      const Nt<Real> nt({inner, rows, columns});
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < columns; ++j)
          expect_near<Real>(nt.c(i, j), [&](Index l) { return std::pair(nt.a(i, l), nt.b(j, l)); }, inner, 0);
      EXPECT_TRUE(nt.c.canaries_live());
    }
  });
}

TYPED_TEST(Products, TnAddsTheSumOfProductsAndTouchesNothingElse) {
  using Real = TypeParam;
  on_every_target([] {
    for (const auto& [inner, rows, columns] : shapes) {
      SCOPED_TRACE(testing::Message() << rows << " x " << inner << " x " << columns);
      const Tn<Real> tn({inner, rows, columns});
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < columns; ++j)
          expect_near<Real>(tn.c(i, j), [&](Index l) { return std::pair(tn.a(l, i), tn.b(l, j)); }, inner, tn.before(i, j));
      EXPECT_TRUE(tn.c.canaries_live());
    }
  });
}

// Whether (1 + e)(1 - e) - 1 is -e^2 on the instruction set at hand, or nothing.
template <class Real>
bool multiply_adds_are_fused() {
  const std::vector<Real> a{-1, 1 + eps<Real>}, b{1, 1 - eps<Real>, 1, 1 - eps<Real>};
  std::vector<Real> c(2);
  multiply_nt<Real>({a.data(), 1, 2}, {b.data(), 2, 2}, {c.data(), 1, 2});
  return c[0] != 0;
}

// Chains of fused multiply-adds: any instruction set that has them gives these bits, as do std::fma and a loop.
TYPED_TEST(Products, BitsAreThoseOfAPlainLoopWhateverTheVectors) {
  using Real = TypeParam;
  int compared = 0;
  on_every_target([&] {
    if (!multiply_adds_are_fused<Real>()) return;
    ++compared;
    for (const auto& [inner, rows, columns] : shapes) {
      SCOPED_TRACE(testing::Message() << rows << " x " << inner << " x " << columns);
      const Nt<Real> nt({inner, rows, columns});
      for (Index i = 0; columns > 1 && i < rows; ++i)
        for (Index j = 0; j < columns; ++j) {
          Real sum = 0;
          for (Index l = 0; l < inner; ++l) sum = std::fma(nt.a(i, l), nt.b(j, l), sum);
          ASSERT_EQ(nt.c(i, j), sum) << "row " << i << ", column " << j;
        }
      for (Index i = 0; columns == 1 && i < rows; ++i) {
        std::vector<Real> sums(128 / sizeof(Real));
        for (std::size_t l = 0; l < static_cast<std::size_t>(inner); ++l) {
          Real& sum = sums[l % sums.size()];
          sum = std::fma(nt.a(i, static_cast<Index>(l)), nt.b(0, static_cast<Index>(l)), sum);
        }
        for (std::size_t count = sums.size() / 2; count > 0; count /= 2)
          for (std::size_t l = 0; l < count; ++l) sums[l] += sums[l + count];
        ASSERT_EQ(nt.c(i, 0), sums[0]) << "row " << i;
      }

      // The rest of a sum goes on from where a part of it stopped.
      if (columns > 1) {
        Padded<Real> c(rows, columns, 1, 2);
        const auto part = [](const Padded<Real>& of, Index first, Index count) {
          return MatrixView<const Real>(of.view().data + first, of.view().rows, count, of.view().stride);
        };
        multiply_nt(part(nt.a, 0, inner / 3), part(nt.b, 0, inner / 3), c.view());
        add_multiply_nt(part(nt.a, inner / 3, inner - inner / 3), part(nt.b, inner / 3, inner - inner / 3), c.view());
        EXPECT_TRUE(same_bits(c.elements(), nt.c.elements()) && c.canaries_live());
      } else {
        Padded<Real> c = nt.c;
        add_multiply_nt(std::as_const(nt.a).view(), std::as_const(nt.b).view(), c.view());
        for (Index i = 0; i < rows; ++i) ASSERT_EQ(c(i, 0), nt.c(i, 0) + nt.c(i, 0)) << "row " << i;
        EXPECT_TRUE(c.canaries_live());
      }

      const Tn<Real> tn({inner, rows, columns});
      Padded<double> expected = tn.before;
      for (Index first = 0; first < inner; first += summed_rows)
        for (Index i = 0; i < rows; ++i)
          for (Index j = 0; j < columns; ++j) {
            Real sum = 0;
            for (Index l = first; l < std::min(first + summed_rows, inner); ++l) sum = std::fma(tn.a(l, i), tn.b(l, j), sum);
            expected(i, j) += static_cast<double>(sum);
          }
      EXPECT_TRUE(same_bits(tn.c.elements(), expected.elements()));
    }
  });
#if HWY_ARCH_X86_64
  EXPECT_GT(compared, __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") ? 0 : -1);
#else
  EXPECT_GT(compared, 0);
#endif
}

}  // namespace
}  // namespace tally::cpu
