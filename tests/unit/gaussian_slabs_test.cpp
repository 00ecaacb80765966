#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "algorithms/families/gaussian_kernels.hpp"
#include "core/backends/cpu_lane.hpp"
#include "core/backends/generic_lane.hpp"
#include "tests/unit/kernel_checks.hpp"

namespace tally {
namespace {

template <class Real>
class GaussianSlabs : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(GaussianSlabs, Reals);

constexpr Index rows = 250;
constexpr Index narrowest = 44;  // with 1035 monomials

Index width_of(Index D) { return 1 + D + D * (D + 1) / 2; }

template <class Lane, class Real>
using FullKernel = FamilyKernelOf<EitherForm<GaussianFullKernel>, Lane, Real>;

template <class Lane, class Real>
FullKernel<Lane, Real> kernel_of(Index K, Index D) {
  return FullKernel<Lane, Real>(EitherForm(GaussianFullKernel{{K, width_of(D)}}, D));
}

TYPED_TEST(GaussianSlabs, AreMadeOfWideRowsOnCpusAlone) {
  using Real = TypeParam;
  EXPECT_EQ((kernel_of<CpuLane, Real>(2, narrowest).feature_width()), 1 + narrowest);
  EXPECT_EQ((kernel_of<CpuLane, Real>(2, narrowest - 1).feature_width()), width_of(narrowest - 1));
  EXPECT_EQ((kernel_of<GenericLane, Real>(2, narrowest).feature_width()), width_of(narrowest));
}

// Log-densities and sums, of features as they are made and of all monomials at once.
TYPED_TEST(GaussianSlabs, GiveWhatAllMonomialsAtOnceGive) {
  using Real = TypeParam;
  cpu::on_every_target([] {
    CpuLane lane;
    for (const auto& [K, D] : std::vector<std::pair<Index, Index>>{{1, 44}, {2, 44}, {3, 45}, {5, 64}, {2, 101}}) {
      SCOPED_TRACE(testing::Message() << K << " components, " << D << " columns");
      const auto kernel = kernel_of<CpuLane, Real>(K, D);
      const Index width = width_of(D);
      std::mt19937_64 random(static_cast<std::uint64_t>(D));
      std::normal_distribution<double> normal;
      const auto draw = [&] { return normal(random); };
      cpu::Padded<Real> x(rows, D, 2, 1), linear(rows, 1 + D, 3), whole(rows, width, 1), posterior(rows, K, 1), coefficients(K, width, 0);
      x.fill(draw);
      posterior.fill(draw);
      coefficients.fill(draw);
      kernel.features(lane, std::as_const(x).view(), linear.view());
      kernel.features(lane, std::as_const(x).view(), whole.view());

      const FamilyCoefficients<Real> of{coefficients.view().data};
      cpu::Padded<Real> logits(rows, K, 2), expected(rows, K, 2);
      kernel.log_densities(lane, std::as_const(linear).view(), of, logits.view());
      kernel.log_densities(lane, std::as_const(whole).view(), of, expected.view());
      for (Index i = 0; i < rows; ++i)
        for (Index k = 0; k < K; ++k) {
          if (K > 1) {
            ASSERT_EQ(logits(i, k), expected(i, k)) << i << ", " << k;
          }
          double size = 0;
          for (Index j = 0; j < width; ++j) size += std::abs(static_cast<double>(whole(i, j)) * static_cast<double>(coefficients(k, j)));
          ASSERT_NEAR(logits(i, k), expected(i, k), static_cast<double>(width) * cpu::eps<Real> * size) << i << ", " << k;
        }
      EXPECT_TRUE(logits.canaries_live());

      std::vector<double> sums(static_cast<std::size_t>(K * width), 0.25), expected_sums(sums);
      kernel.add_weighted(lane, std::as_const(linear).view(), of, std::as_const(posterior).view(), sums.data());
      kernel.add_weighted(lane, std::as_const(whole).view(), of, std::as_const(posterior).view(), expected_sums.data());
      EXPECT_EQ(sums, expected_sums);
    }
  });
}

// Some components about their means, whose sums come from the rows as they are, between runs of others.
TYPED_TEST(GaussianSlabs, GoBesideComponentsAboutTheirMeans) {
  using Real = TypeParam;
  cpu::on_every_target([] {
    CpuLane lane;
    constexpr Index K = 5, D = 50;
    const auto kernel = kernel_of<CpuLane, Real>(K, D);
    const Index width = width_of(D);
    std::mt19937_64 random(D);
    std::normal_distribution<double> normal;
    const auto draw = [&] { return normal(random); };
    cpu::Padded<Real> x(rows, D, 0), linear(rows, 1 + D, 3), whole(rows, width, 1), posterior(rows, K, 1), coefficients(K, width, 0);
    cpu::Padded<double> exact(K, width, 0);
    x.fill(draw);
    posterior.fill(draw);
    coefficients.fill(draw);
    for (Index k = 0; k < K; ++k)
      for (Index j = 0; j < width; ++j) exact(k, j) = static_cast<double>(coefficients(k, j));
    kernel.features(lane, std::as_const(x).view(), linear.view());
    kernel.features(lane, std::as_const(x).view(), whole.view());

    // Two runs of two; of one and of three; none.
    for (const std::vector<Index>& about_means : std::vector<std::vector<Index>>{{2}, {1}, {0, 1, 2, 3, 4}}) {
      SCOPED_TRACE(testing::Message() << "about means: " << about_means.size() << " from " << about_means.front());
      const FamilyCoefficients<Real> of{coefficients.view().data, exact.view().data, about_means};
      cpu::Padded<Real> logits(rows, K, 2), expected(rows, K, 2);
      kernel.log_densities(lane, std::as_const(linear).view(), of, logits.view());
      kernel.log_densities(lane, std::as_const(whole).view(), of, expected.view());
      const Index alone = about_means.front() == 1 ? 0 : -1;
      for (Index i = 0; i < rows; ++i)
        for (Index k = 0; k < K; ++k) {
          if (k != alone) {
            ASSERT_EQ(logits(i, k), expected(i, k)) << i << ", " << k;
          }
          double size = 0;
          for (Index j = 0; j < width; ++j) size += std::abs(static_cast<double>(whole(i, j)) * static_cast<double>(coefficients(k, j)));
          ASSERT_NEAR(logits(i, k), expected(i, k), static_cast<double>(width) * cpu::eps<Real> * size) << i << ", " << k;
        }
      EXPECT_TRUE(logits.canaries_live());

      std::vector<double> sums(static_cast<std::size_t>(K * width + K)), expected_sums(sums);
      kernel.add_weighted(lane, std::as_const(linear).view(), of, std::as_const(posterior).view(), sums.data());
      kernel.add_weighted(lane, std::as_const(whole).view(), of, std::as_const(posterior).view(), expected_sums.data());
      EXPECT_EQ(sums, expected_sums);
      EXPECT_EQ(sums[static_cast<std::size_t>(K * width + about_means.front())], 1);
    }
  });
}

}  // namespace
}  // namespace tally
