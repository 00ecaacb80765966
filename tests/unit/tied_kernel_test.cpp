#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "algorithms/families/gaussian_kernels.hpp"
#include "core/backends/cpu_lane.hpp"
#include "core/backends/generic_lane.hpp"
#include "tests/unit/kernel_checks.hpp"

namespace tally {
namespace {

template <class LaneAndReal>
class TiedKernel : public testing::Test {};
using LanesAndReals = testing::Types<std::pair<CpuLane, double>, std::pair<CpuLane, float>, std::pair<GenericLane, double>,
                                     std::pair<GenericLane, float>>;
TYPED_TEST_SUITE(TiedKernel, LanesAndReals);

// Columns that fill a vector, and eight sums, and not; rows beyond what is summed at once.
constexpr Index rows = 300, K = 2;

template <class Real>
struct Operands {
  GaussianTiedKernel kernel;
  cpu::Padded<Real> features;            // [1, x]
  std::vector<Real> coefficients, weights;
  std::vector<double> statistics;

  explicit Operands(Index D)
      : kernel(K, D), features(rows, 1 + D, 3), statistics(static_cast<std::size_t>(K * (1 + D) + D * (D + 1) / 2), 0.5) {
    std::mt19937_64 random(static_cast<std::uint64_t>(D));
    std::normal_distribution<double> normal;
    features.fill([&] { return normal(random); });
    for (Index i = 0; i < rows; ++i) features(i, 0) = 1;
    for (Index i = 0; i < K * (1 + D) + D * D; ++i) coefficients.push_back(static_cast<Real>(normal(random)));
    for (Index i = 0; i < rows; ++i) weights.push_back(static_cast<Real>(i % 4) / 4);
  }
  Real x(Index i, Index d) const { return features(i, 1 + d); }
  Real whitening(Index a, Index b) const {
    const Index D = kernel.columns();
    return coefficients[static_cast<std::size_t>(K * (1 + D) + a * D + b)];
  }
};

TYPED_TEST(TiedKernel, RowsHaveHalfTheirWhitenedNorm) {
  using Real = typename TypeParam::second_type;
  typename TypeParam::first_type lane;
  for (const Index D : {1, 7, 8, 9, 17, 64}) {
    const Operands<Real> of(D);
    std::vector<Real> found(rows);
    of.kernel.row_log_densities(lane, of.features.view(), of.coefficients.data(), found.data());
    for (Index i = 0; i < rows; ++i) {
      long double expected = 0, size = 0;
      for (Index a = 0; a < D; ++a) {
        long double whitened = 0, terms = 0;
        for (Index b = 0; b < D; ++b) {
          whitened += static_cast<long double>(of.whitening(a, b)) * of.x(i, b);
          terms += std::abs(static_cast<long double>(of.whitening(a, b)) * of.x(i, b));
        }
        expected -= whitened * whitened / 2;
        size += terms * terms / 2;
      }
      ASSERT_NEAR(found[static_cast<std::size_t>(i)], static_cast<double>(expected),
                  2 * static_cast<double>(D + 2) * cpu::eps<Real> * static_cast<double>(size)) << D << " columns, row " << i;
    }
  }
}

TYPED_TEST(TiedKernel, ProductsAreSummedWithWeightsAndWithout) {
  using Real = typename TypeParam::second_type;
  typename TypeParam::first_type lane;
  for (const Index D : {1, 7, 8, 9, 17, 64})
    for (const bool weighted : {false, true}) {
      Operands<Real> of(D);
      of.kernel.add_unlabelled(lane, std::as_const(of.features).view(), weighted ? of.weights.data() : nullptr, of.statistics.data());
      for (Index j = 0; j < K * (1 + D); ++j) ASSERT_EQ(of.statistics[static_cast<std::size_t>(j)], 0.5);  // not its own
      for (Index a = 0, at = K * (1 + D); a < D; ++a)
        for (Index b = a; b < D; ++b, ++at) {
          long double expected = 0.5, size = 0.5;
          for (Index i = 0; i < rows; ++i) {
            const long double weight = weighted ? of.weights[static_cast<std::size_t>(i)] : Real(1);
            expected += weight * of.x(i, a) * of.x(i, b);
            size += std::abs(weight * of.x(i, a) * of.x(i, b));
          }
          ASSERT_NEAR(of.statistics[static_cast<std::size_t>(at)], static_cast<double>(expected),
                      static_cast<double>(rows) * cpu::eps<Real> * static_cast<double>(size)) << D << " columns: " << a << ", " << b;
        }
    }
}

}  // namespace
}  // namespace tally
