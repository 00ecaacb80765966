#include <cmath>
#include <cstddef>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "algorithms/families/gaussian.hpp"
#include "algorithms/families/gaussian_kernels.hpp"
#include "algorithms/families/packed_index.hpp"
#include "core/backends/cpu_lane.hpp"
#include "core/backends/generic_lane.hpp"
#include "tests/unit/kernel_checks.hpp"

namespace tally {
namespace {

constexpr Index rows = 250, K = 3;
constexpr double distance = 1e5;  // of means from 0, in widths of about 1

Covariance shape_of(const GaussianFullKernel&) { return Covariance::full; }
Covariance shape_of(const GaussianDiagKernel&) { return Covariance::diag; }
Covariance shape_of(const GaussianSphericalKernel&) { return Covariance::spherical; }
Covariance shape_of(const GaussianTiedKernel&) { return Covariance::tied; }

template <class Kernel>
Kernel kernel_of(const GaussianFamily& family) {
  if constexpr (std::is_same_v<Kernel, GaussianTiedKernel>)
    return GaussianTiedKernel(K, family.columns());
  else
    return Kernel{{K, family.width()}};
}

// Rows about the means, which are far out; covariances that are no multiples of one another.
template <class Kernel>
struct Problem {
  Index D;
  GaussianFamily family;
  Layout layout, statistics;
  std::vector<double> parameters;
  cpu::Padded<double> x, posterior;

  explicit Problem(Index columns)
      : D(columns),
        family({shape_of(kernel_of<Kernel>(GaussianFamily({}, K, columns))), 0}, K, columns, true),
        x(rows, 1 + columns, 2),
        posterior(rows, K, 1) {
    family.add_parameters(layout);
    family.add_statistics(statistics);
    parameters.resize(static_cast<std::size_t>(layout.size()));
    family.set_defaults(layout, parameters);
    std::mt19937_64 random(static_cast<std::uint64_t>(columns));
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> uniform(0.1, 1);
    const MatrixView<double> means = layout["means"].matrix(std::span(parameters));
    for (Index k = 0; k < K; ++k)
      for (Index d = 0; d < D; ++d) means(k, d) = distance * (k == 1 ? -1.0 : 1.0) + normal(random);
    for (double& value : layout["covariances"].in(std::span(parameters)))
      value *= family.form() == CovarianceForm::tied ? 0.7 : 0.5 + uniform(random);
    if (family.form() == CovarianceForm::full || family.form() == CovarianceForm::tied) correlate();
    x.fill([&] { return normal(random); });
    for (Index i = 0; i < rows; ++i) {
      x(i, 0) = 1;
      for (Index d = 0; d < D; ++d) x(i, 1 + d) += means(i % K, d);
    }
    posterior.fill([&] { return uniform(random); });
  }

  void correlate() {
    const auto covariances = layout["covariances"].in(std::span(parameters));
    for (std::size_t first = 0; first < covariances.size(); first += static_cast<std::size_t>(D * D)) {
      const MatrixView<double> S(covariances.data() + first, D, D);
      for (Index a = 0; a < D; ++a)
        for (Index b = 0; b < D; ++b) S(a, b) += 0.3 * std::cos(static_cast<double>(a)) * std::cos(static_cast<double>(b));
    }
  }
  double mean(Index k, Index d) const { return layout["means"].matrix(std::span<const double>(parameters))(k, d); }
  double covariance(Index k, Index a, Index b) const {
    const auto values = layout["covariances"].in(std::span<const double>(parameters));
    switch (family.form()) {
      case CovarianceForm::full: return values[static_cast<std::size_t>((k * D + a) * D + b)];
      case CovarianceForm::tied: return values[static_cast<std::size_t>(a * D + b)];
      case CovarianceForm::diag: return a == b ? values[static_cast<std::size_t>(k * D + a)] : 0;
      case CovarianceForm::spherical: return a == b ? values[static_cast<std::size_t>(k)] : 0;
    }
    return 0;
  }
  // By elimination of S and x - m together.
  double log_density(Index i, Index k) const {
    std::vector<std::vector<double>> rest;
    double squares = 0, log_determinant = 0;
    for (Index a = 0; a < D; ++a) {
      rest.emplace_back();
      for (Index b = 0; b < D; ++b) rest.back().push_back(covariance(k, a, b));
      rest.back().push_back(x(i, 1 + a) - mean(k, a));
    }
    for (std::size_t p = 0; p < rest.size(); ++p) {
      squares += rest[p].back() * rest[p].back() / rest[p][p];
      log_determinant += std::log(rest[p][p]);
      for (std::size_t a = p + 1; a < rest.size(); ++a) {
        const double factor = rest[a][p] / rest[p][p];
        for (std::size_t b = p; b < rest[a].size(); ++b) rest[a][b] -= factor * rest[p][b];
      }
    }
    return -0.5 * (static_cast<double>(D) * std::log(2 * std::acos(-1.0)) + log_determinant + squares);
  }
};

template <class Case>
class AboutMeans : public testing::Test {};
using Cases = testing::Types<std::pair<CpuLane, GaussianFullKernel>, std::pair<CpuLane, GaussianTiedKernel>,
                             std::pair<CpuLane, GaussianDiagKernel>, std::pair<CpuLane, GaussianSphericalKernel>,
                             std::pair<GenericLane, GaussianFullKernel>, std::pair<GenericLane, GaussianTiedKernel>,
                             std::pair<GenericLane, GaussianDiagKernel>, std::pair<GenericLane, GaussianSphericalKernel>>;
TYPED_TEST_SUITE(AboutMeans, Cases);

TYPED_TEST(AboutMeans, DensitiesAndSumsAreThoseOfDifferences) {
  using Kernel = typename TypeParam::second_type;
  typename TypeParam::first_type lane;
  for (const Index D : {1, 2, 7, 9, 17}) {
    SCOPED_TRACE(testing::Message() << D << " columns");
    const Problem<Kernel> problem(D);
    const GaussianAboutMeans<Kernel> kernel = EitherForm<Kernel>(kernel_of<Kernel>(problem.family), D).about_means();
    std::vector<double> coefficients(static_cast<std::size_t>(problem.family.coefficient_count()));
    ASSERT_TRUE(problem.family.either_coefficients(problem.layout, problem.parameters, coefficients, 1e20).empty());
    const std::vector<Index> about_means = problem.family.either_coefficients(problem.layout, problem.parameters, coefficients, 1e5);
    ASSERT_EQ(about_means, (std::vector<Index>{0, 1, 2}));

    cpu::Padded<double> logits(rows, K, 2);
    const FamilyCoefficients<double> of{coefficients.data(), coefficients.data(), about_means};
    kernel.log_densities(lane, problem.x.view(), of, logits.view());
    for (Index i = 0; i < rows; ++i)
      for (Index k = 0; k < K; k += 2) {  // near or far on the same side
        const double expected = problem.log_density(i, k);
        ASSERT_NEAR(logits(i, k), expected, 1e-9 * std::abs(expected)) << i << ", " << k;
      }
    EXPECT_TRUE(logits.canaries_live());

    std::vector<double> sums(static_cast<std::size_t>(problem.statistics.size()));
    kernel.add_weighted(lane, problem.x.view(), of, problem.posterior.view(), sums.data());
    for (const double tiles : problem.statistics["about_means"].in(std::span<const double>(sums))) EXPECT_EQ(tiles, 1);
    const MatrixView<const double> moments = problem.statistics["moments"].matrix(std::span<const double>(sums));
    std::vector<double> scatter(static_cast<std::size_t>(D * (D + 1) / 2));
    for (Index k = 0; k < K; ++k) {
      std::vector<double> expected(static_cast<std::size_t>(moments.cols));
      for (Index i = 0; i < rows; ++i) {
        const double r = problem.posterior(i, k);
        const auto difference = [&](Index d) { return problem.x(i, 1 + d) - problem.mean(k, d); };
        expected[0] += r;
        for (Index a = 0; a < D; ++a) {
          expected[static_cast<std::size_t>(1 + a)] += r * difference(a);
          for (Index b = a; b < D; ++b) {
            const double product = r * difference(a) * difference(b);
            const auto at = static_cast<std::size_t>(packed_index(a, b, D));
            switch (problem.family.form()) {
              case CovarianceForm::full: expected[static_cast<std::size_t>(1 + D) + at] += product; break;
              case CovarianceForm::tied: scatter[at] += product; break;
              case CovarianceForm::diag:
                if (a == b) expected[static_cast<std::size_t>(1 + D + a)] += product;
                break;
              case CovarianceForm::spherical:
                if (a == b) expected[static_cast<std::size_t>(1 + D)] += product;
                break;
            }
          }
        }
      }
      for (Index j = 0; j < moments.cols; ++j) {
        const double value = expected[static_cast<std::size_t>(j)];
        ASSERT_NEAR(moments(k, j), value, 1e-12 * distance * std::sqrt(std::abs(expected.back()) + 1) + 1e-11 * std::abs(value)) << k << ", " << j;
      }
    }
    if (problem.family.form() != CovarianceForm::tied) continue;
    const auto found = problem.statistics["scatter"].in(std::span<const double>(sums));
    for (std::size_t j = 0; j < scatter.size(); ++j)
      ASSERT_NEAR(found[j], scatter[j], 1e-11 * std::abs(scatter[j]) + 1e-7 * std::sqrt(std::abs(scatter.front()))) << j;
  }
}

// A component in the middle is far out, the others are near: theirs are sums about the centre, as without it.
TYPED_TEST(AboutMeans, OthersAreAboutTheCentre) {
  using Kernel = typename TypeParam::second_type;
  if constexpr (!std::is_same_v<Kernel, GaussianTiedKernel>) {
    typename TypeParam::first_type lane;
    constexpr Index D = 5;
    Problem<Kernel> problem(D);
    const MatrixView<double> means = problem.layout["means"].matrix(std::span(problem.parameters));
    for (Index k = 0; k < K; k += 2)
      for (Index d = 0; d < D; ++d) means(k, d) = static_cast<double>(k + d);
    const EitherForm<Kernel> kernel(kernel_of<Kernel>(problem.family), D);
    std::vector<double> plain(static_cast<std::size_t>(problem.family.coefficient_count())), either(plain);
    problem.family.coefficients(problem.layout, problem.parameters, plain);
    const std::vector<Index> about_means = problem.family.either_coefficients(problem.layout, problem.parameters, either, 1e5);
    ASSERT_EQ(about_means, std::vector<Index>{1});

    cpu::Padded<double> features(rows, kernel.feature_width(), 3), expected(rows, K, 2), logits(rows, K, 2);
    kernel.features(lane, MatrixView<const double>(problem.x.view().data + 1, rows, D, problem.x.view().stride), features.view());
    kernel.log_densities(lane, std::as_const(features).view(), plain.data(), expected.view());
    const FamilyCoefficients<double> of{either.data(), either.data(), about_means};
    kernel.about_means().log_densities(lane, std::as_const(features).view(), of, logits.view());
    std::vector<double> sums(static_cast<std::size_t>(problem.statistics.size())), expected_sums(sums);
    kernel.add_weighted(lane, std::as_const(features).view(), std::as_const(problem.posterior).view(), expected_sums.data());
    kernel.about_means().add_weighted(lane, std::as_const(features).view(), of, std::as_const(problem.posterior).view(), sums.data());
    const Index width = kernel.width;
    for (Index i = 0; i < rows; ++i)
      for (Index k = 0; k < K; k += 2) ASSERT_NEAR(logits(i, k), expected(i, k), 1e-12 * std::abs(expected(i, k)));
    for (Index k = 0; k < K; ++k)
      for (Index j = 0; j < width; ++j) {
        const auto at = static_cast<std::size_t>(k * width + j);
        if (k == 1 && j > 0)
          ASSERT_NE(sums[at], expected_sums[at]);
        else
          ASSERT_NEAR(sums[at], expected_sums[at], 1e-12 * std::abs(expected_sums[at]));
      }
    const auto tiles = problem.statistics["about_means"].in(std::span<const double>(sums));
    EXPECT_EQ(std::vector<double>(tiles.begin(), tiles.end()), (std::vector<double>{0, 1, 0}));
  }
}

}  // namespace
}  // namespace tally
