#include "core/backends/chain.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "tests/unit/kernel_checks.hpp"

namespace tally::cpu {
namespace {

template <class Real>
class ChainKernels : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(ChainKernels, Precisions);

// A chain of random weights and log emissions of one sequence.
struct Chain {
  Index K, T;
  std::vector<double> start, transitions, logits;

  Chain(Index states, Index steps, std::uint64_t seed, double spread = 1.0) : K(states), T(steps) {
    std::mt19937_64 engine(seed);
    std::gamma_distribution<double> weight(1.0);
    std::normal_distribution<double> normal(0.0, spread);
    for (Index k = 0; k < K; ++k) start.push_back(weight(engine));
    for (Index e = 0; e < K * K; ++e) transitions.push_back(weight(engine));
    for (Index e = 0; e < T * K; ++e) logits.push_back(normal(engine));
    normalise();
  }

  void normalise() {
    scale(start.begin());
    for (Index i = 0; i < K; ++i) scale(transitions.begin() + i * K);
  }

 private:
  void scale(std::vector<double>::iterator row) const {
    double sum = 0;
    for (Index k = 0; k < K; ++k) sum += row[k];
    for (Index k = 0; k < K; ++k) row[k] /= sum;
  }
};

// Sums over all K^T paths.
struct BruteForce {
  long double likelihood = 0;
  std::vector<long double> gamma, xi;  // (T, K), (K, K)

  explicit BruteForce(const Chain& chain)
      : gamma(static_cast<std::size_t>(chain.T * chain.K)), xi(static_cast<std::size_t>(chain.K * chain.K)) {
    const auto [K, T] = std::pair(chain.K, chain.T);
    std::vector<Index> path(static_cast<std::size_t>(T));
    const auto visit = [&](auto&& self, Index t, long double probability) -> void {
      if (t == T) {
        likelihood += probability;
        for (Index s = 0; s < T; ++s) gamma[s * K + path[s]] += probability;
        for (Index s = 1; s < T; ++s) xi[path[s - 1] * K + path[s]] += probability;
        return;
      }
      for (path[t] = 0; path[t] < K; ++path[t]) {
        const long double step =
            t == 0 ? chain.start[path[t]] : chain.transitions[path[t - 1] * K + path[t]];
        self(self, t + 1, probability * step * std::exp(static_cast<long double>(chain.logits[t * K + path[t]])));
      }
    };
    visit(visit, 0, 1.0L);
    for (long double& value : gamma) value /= likelihood;
    for (long double& value : xi) value /= likelihood;
  }
};

// The E-step of a chain by the kernels.
template <class Real>
struct Smoothed {
  Index K, T;
  std::vector<Real> start, transitions, transposed;
  Padded<Real> b, alpha, gamma;
  std::vector<double> maxima, scales;
  Index impossible = -1;

  explicit Smoothed(const Chain& chain, Index padding = 0)
      : K(chain.K),
        T(chain.T),
        start(chain.start.begin(), chain.start.end()),
        transitions(chain.transitions.begin(), chain.transitions.end()),
        transposed(transitions.size()),
        b(T, K, padding),
        alpha(T, K, padding),
        gamma(T, K, padding),
        maxima(static_cast<std::size_t>(T)),
        scales(static_cast<std::size_t>(T)) {
    for (Index i = 0; i < K; ++i)
      for (Index j = 0; j < K; ++j) transposed[j * K + i] = transitions[i * K + j];
    b.fill([&, e = 0]() mutable { return chain.logits[e++]; });
    scale_emissions<Real>(b.view(), maxima.data());
  }

  ChainWeights<Real> weights() const { return {K, start.data(), transitions.data(), transposed.data()}; }

  Smoothed& run(const std::vector<ChainPiece>& pieces) {
    impossible = chain_forward<Real>(weights(), pieces, b.view(), alpha.view(), scales.data());
    chain_backward<Real>(weights(), pieces, b.view(), alpha.view(), scales.data(), gamma.view());
    return *this;
  }
  Smoothed& run() { return run({{0, T}}); }

  long double log_likelihood() const {
    long double sum = 0;
    for (Index t = 0; t < T; ++t) sum += std::log(static_cast<long double>(scales[t])) + maxima[t];
    return sum;
  }

  double xi(Index i, Index j) const {
    double sum = 0;
    for (Index t = 1; t < T; ++t) sum += static_cast<double>(alpha(t - 1, i)) * static_cast<double>(b(t, j));
    return sum * transitions[i * K + j];
  }
};

// Each of some ten steps adds a few roundings.
template <class Real>
constexpr double few_roundings = 64 * static_cast<double>(eps<Real>);

TYPED_TEST(ChainKernels, PosteriorIsTheSumOverPaths) {
  using Real = TypeParam;
  on_every_target([] {
    for (Index K = 1; K <= 4; ++K)
      for (Index T = 1; T <= 7; ++T) {
        const Chain chain(K, T, static_cast<std::uint64_t>(10 * K + T));
        const BruteForce expected(chain);

        const Smoothed<Real> got = Smoothed<Real>(chain, T % 3).run();

        EXPECT_EQ(got.impossible, -1);
        EXPECT_NEAR(static_cast<double>(got.log_likelihood()), static_cast<double>(std::log(expected.likelihood)),
                    few_roundings<Real>);
        for (Index t = 0; t < T; ++t)
          for (Index k = 0; k < K; ++k)
            ASSERT_NEAR(got.gamma(t, k), static_cast<double>(expected.gamma[t * K + k]), few_roundings<Real>);
        for (Index i = 0; i < K; ++i)
          for (Index j = 0; j < K; ++j)
            ASSERT_NEAR(got.xi(i, j), static_cast<double>(expected.xi[i * K + j]), few_roundings<Real>);
      }
  });
}

}  // namespace
}  // namespace tally::cpu
