#include <atomic>
#include <cmath>
#include <memory>
#include <set>
#include <span>
#include <string>

#include <gtest/gtest.h>

#include "algorithms/families/poisson.hpp"
#include "algorithms/latent/mixture.hpp"
#include "algorithms/pair_model.hpp"
#include "tests/unit/conformance.hpp"

namespace tally {
namespace {

// The CPU, and how often it was given parameters.
struct CountingBackend {
  static inline std::atomic<int> preparations = 0;

  using Lane = CpuLane;

  static std::unique_ptr<BoundModel> bind_mixture(const FamilyKernels<CpuLane>& kernels, const Coefficients& coefficients,
                                                  const Layout& statistics, Index components, const BindOptions& options) {
    Coefficients counted = coefficients;
    counted.compute = [compute = coefficients.compute](std::span<const double> parameters, std::span<double> out) {
      ++preparations;
      compute(parameters, out);
    };
    return CpuBackend::bind_mixture(kernels, counted, statistics, components, options);
  }
};

std::unique_ptr<Model> counting(Index components, Index columns) {
  return std::make_unique<PairModel<PoissonFamily, Mixture>>("poisson", Mixture(components),
                                                             PoissonFamily(components, columns),
                                                             PoissonKernel{{components, 1 + columns}},
                                                             std::set<std::string>{}, CountingBackend{});
}

TEST(EmPass, ARepeatedPassPreparesItsCandidatesOnce) {
  Table table{1, {}, {}};
  for (int i = 0; i < 300; ++i) table.values.push_back(i % 7 + i % 3 * 10);
  const ModelCase model_case{"", counting, Precision::double_precision};
  FitPlan plan;
  plan.restarts = 2;
  const auto fit = [&] {
    CountingBackend::preparations = 0;
    return fit_in_world(model_case, table, {1, 1, false}, plan);
  };

  const Fitted straight = fit();
  const int expected = CountingBackend::preparations;
  plan.alter = [](int, FitState&, DataSummary& summary) { summary.largest_weight = std::ldexp(1.0, -40); };
  const Fitted repeated = fit();

  EXPECT_GT(repeated.sums, straight.sums);
  EXPECT_EQ(CountingBackend::preparations, expected);
}

}  // namespace
}  // namespace tally
