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
  std::vector<Index> beyond;

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
    chain_backward<Real>(weights(), pieces, b.view(), alpha.view(), scales.data(), gamma.view(), beyond);
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

const std::vector<Index> state_counts{1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 32, 33, 64, 100, 128};

// The scaled recursions in long double.
struct Reference {
  std::vector<long double> alpha, gamma;
  long double log_likelihood = 0;

  explicit Reference(const Chain& chain) : alpha(static_cast<std::size_t>(chain.T * chain.K)), gamma(alpha) {
    const auto [K, T] = std::pair(chain.K, chain.T);
    std::vector<long double> scales(static_cast<std::size_t>(T)), beta(static_cast<std::size_t>(K), 1.0L), w(beta);
    const auto emission = [&](Index t, Index k) { return std::exp(static_cast<long double>(chain.logits[t * K + k])); };
    for (Index t = 0; t < T; ++t) {
      for (Index j = 0; j < K; ++j) {
        long double sum = t == 0 ? chain.start[j] : 0.0;
        for (Index i = 0; t > 0 && i < K; ++i) sum += alpha[(t - 1) * K + i] * chain.transitions[i * K + j];
        scales[t] += alpha[t * K + j] = sum * emission(t, j);
      }
      for (Index j = 0; j < K; ++j) alpha[t * K + j] /= scales[t];
      log_likelihood += std::log(scales[t]);
    }
    for (Index t = T - 1; t >= 0; --t) {
      for (Index k = 0; k < K; ++k) {
        gamma[t * K + k] = alpha[t * K + k] * beta[k];
        w[k] = emission(t, k) * beta[k] / scales[t];
      }
      for (Index i = 0; i < K; ++i) {
        beta[i] = 0;
        for (Index j = 0; j < K; ++j) beta[i] += chain.transitions[i * K + j] * w[j];
      }
    }
  }
};

// A step rounds a sum of at most 128 positive terms and the weights, themselves rounded to Real; errors of the steps
// before fade as the chain forgets.
template <class Real>
constexpr double rounded_sums = 400 * static_cast<double>(eps<Real>);

TYPED_TEST(ChainKernels, PosteriorIsRightForAnyNumberOfStates) {
  using Real = TypeParam;
  on_every_target([] {
    for (const Index K : state_counts) {
      const Chain chain(K, 40, static_cast<std::uint64_t>(K));
      const Reference expected(chain);

      const Smoothed<Real> got = Smoothed<Real>(chain, K % 4).run();

      EXPECT_NEAR(static_cast<double>(got.log_likelihood()), static_cast<double>(expected.log_likelihood),
                  40 * rounded_sums<Real>);
      for (Index t = 0; t < chain.T; ++t)
        for (Index k = 0; k < K; ++k) {
          ASSERT_NEAR(got.alpha(t, k), static_cast<double>(expected.alpha[t * K + k]), rounded_sums<Real>) << K;
          ASSERT_NEAR(got.gamma(t, k), static_cast<double>(expected.gamma[t * K + k]), rounded_sums<Real>) << K;
        }
      for (Index k = 0; k < K; ++k) EXPECT_EQ(got.b(0, k), Real(0));
      EXPECT_TRUE(got.b.canaries_live() && got.alpha.canaries_live() && got.gamma.canaries_live());
    }
  });
}

TYPED_TEST(ChainKernels, PiecesGiveTheSameBitsAloneAndTogether) {
  using Real = TypeParam;
  on_every_target([] {
    for (const Index K : state_counts) {
      const Chain chain(K, 120, static_cast<std::uint64_t>(K), 30.0);
      std::vector<ChainPiece> pieces;
      for (Index first = 0, steps = 1; first < chain.T; first += steps, steps = 1 + steps * 5 % 17)
        pieces.push_back({first, std::min(steps, chain.T - first), nullptr, nullptr});

      const Smoothed<Real> together = Smoothed<Real>(chain).run(pieces);
      std::reverse(pieces.begin(), pieces.end());
      const Smoothed<Real> reversed = Smoothed<Real>(chain).run(pieces);
      Smoothed<Real> alone(chain);
      for (const ChainPiece& piece : pieces) alone.run({piece});

      for (const Smoothed<Real>* other : {&reversed, static_cast<const Smoothed<Real>*>(&alone)}) {
        EXPECT_TRUE(same_bits(together.alpha.elements(), other->alpha.elements())) << K;
        EXPECT_TRUE(same_bits(together.gamma.elements(), other->gamma.elements())) << K;
        EXPECT_TRUE(same_bits(together.b.elements(), other->b.elements())) << K;
        EXPECT_TRUE(same_bits(together.scales, other->scales)) << K;
      }
    }
  });
}

// Cut at step 13 of 40: what passes the cut is found by composition and by messages.
TYPED_TEST(ChainKernels, CutPiecesEqualTheUncutChain) {
  using Real = TypeParam;
  on_every_target([] {
    for (const Index K : state_counts) {
      const Index T = 40, cut = 13;
      const Chain chain(K, T, static_cast<std::uint64_t>(K));
      Smoothed<Real> whole(chain), pieces(chain);
      const auto rows = [&](Index first, Index count) {
        return MatrixView<const Real>(whole.b.view().row(first), count, K, whole.b.view().stride);
      };
      Padded<double> product(K, K, 1);
      std::vector<double> log_scales(static_cast<std::size_t>(K)), outgoing(log_scales), incoming(log_scales);

      // One step, then the composition of those up to the cut.
      std::vector<double> first_scale(1);
      Padded<Real> first(1, K, 0);
      chain_forward<Real>(whole.weights(), std::vector<ChainPiece>{{0, 1}}, whole.b.view(), first.view(), first_scale.data());
      chain_compose<Real>(whole.weights(), rows(1, cut - 1), product.view(), log_scales.data());
      double sum = 0;
      for (Index i = 0; i < K; ++i) sum += static_cast<double>(first(0, i)) * std::exp(log_scales[i]);
      for (Index i = 0; i < K; ++i)
        for (Index j = 0; j < K; ++j)
          incoming[j] += static_cast<double>(first(0, i)) * std::exp(log_scales[i]) / sum * product(i, j);
      whole.run();
      for (Index i = 0; i < K; ++i)
        for (Index j = 0; j < K; ++j)
          outgoing[i] += 1e-200 * static_cast<double>(chain.transitions[i * K + j]) * static_cast<double>(whole.b(cut, j));
      pieces.run({{0, cut, nullptr, outgoing.data()}, {cut, T - cut, incoming.data(), nullptr}});

      double log_probability = 0;
      for (Index t = 1; t < cut; ++t) log_probability += std::log(whole.scales[t]);
      EXPECT_NEAR(std::log(sum), log_probability, cut * rounded_sums<Real>);
      for (Index t = 0; t < T; ++t) {
        ASSERT_NEAR(pieces.scales[t], whole.scales[t], rounded_sums<Real>) << K;
        for (Index k = 0; k < K; ++k) {
          ASSERT_NEAR(pieces.alpha(t, k), whole.alpha(t, k), rounded_sums<Real>) << K;
          ASSERT_NEAR(pieces.gamma(t, k), whole.gamma(t, k), rounded_sums<Real>) << K;
          const double w = static_cast<double>(whole.b(t, k));
          ASSERT_NEAR(pieces.b(t, k), w, rounded_sums<Real> * (1 + w)) << K << " " << t;
        }
      }
    }
  });
}

// Roundings of the steps are independent: their sum grows as the square root of 1e5, far below 1e-12 of the total.
TEST(ChainKernelsOfDouble, LongChainKeepsItsDigits) {
  for (const Index K : {2, 17}) {
    const Chain chain(K, 100000, 5);
    const Reference expected(chain);

    const Smoothed<double> got = Smoothed<double>(chain).run();

    EXPECT_NEAR(static_cast<double>(got.log_likelihood() / expected.log_likelihood), 1.0, 1e-12);
    for (Index t = 0; t < chain.T; t += 997)
      for (Index k = 0; k < K; ++k)
        ASSERT_NEAR(got.gamma(t, k), static_cast<double>(expected.gamma[t * K + k]), rounded_sums<double>);
  }
}

// Sums are corrected every 16 steps, each of which adds a few roundings.
TYPED_TEST(ChainKernels, PosteriorSumsToOneAfterManySteps) {
  using Real = TypeParam;
  const Smoothed<Real> got = Smoothed<Real>(Chain(5, 200000, 3)).run();
  for (Index t = 0; t < got.T; ++t) {
    double sum = 0;
    for (Index k = 0; k < got.K; ++k) sum += static_cast<double>(got.gamma(t, k));
    ASSERT_NEAR(sum, 1.0, 100 * static_cast<double>(eps<Real>));
  }
}

// States from 2 on cannot be reached.
Chain with_unreachable_states(Index K, double their_logit) {
  Chain chain(K, 60, 1);
  for (Index i = 0; i < K; ++i) {
    if (i >= 2) chain.start[i] = 0;
    for (Index j = 0; j < K; ++j) {
      if ((i < 2) != (j < 2)) chain.transitions[i * K + j] = 0;
      if (i == 1 && j == 0) chain.transitions[i * K + j] = 0;
    }
  }
  chain.normalise();
  for (Index e = 0; e < chain.T * K; ++e)
    chain.logits[e] = e % K < 2 ? -static_cast<double>(e % 7) : their_logit;
  return chain;
}

TYPED_TEST(ChainKernels, StructuralZerosStayZeros) {
  using Real = TypeParam;
  on_every_target([] {
    for (const Index K : {4, 9, 40}) {
      const Smoothed<Real> got = Smoothed<Real>(with_unreachable_states(K, -3)).run();

      EXPECT_EQ(got.impossible, -1);
      EXPECT_TRUE(got.beyond.empty());
      for (Index t = 0; t < got.T; ++t) {
        EXPECT_NEAR(got.gamma(t, 0) + got.gamma(t, 1), 1.0, rounded_sums<Real>);
        for (Index k = 2; k < K; ++k) ASSERT_EQ(got.gamma(t, k), Real(0));
      }
      EXPECT_EQ(got.xi(1, 0), 0.0);
    }
  });
}

// What is not to be had in this precision is left, and said: here unreachable states would explain the data so well that
// their backward messages leave its range.
TYPED_TEST(ChainKernels, PiecesBeyondTheRangeAreLeft) {
  using Real = TypeParam;
  on_every_target([] {
    for (const Index K : {4, 9, 40}) {
      const Chain far = with_unreachable_states(K, 60), near = with_unreachable_states(K, -3);
      Chain chain = far;
      for (Index e = 20 * K; e < 40 * K; ++e) chain.logits[e] = near.logits[e];

      const Smoothed<Real> got = Smoothed<Real>(chain).run({{0, 20}, {20, 20}, {40, 20}});

      EXPECT_EQ(got.impossible, -1);
      EXPECT_EQ(got.beyond, (std::vector<Index>{0, 2}));
      for (Index t = 0; t < chain.T; ++t) {
        double sum = 0;
        for (Index k = 0; k < K; ++k) {
          sum += static_cast<double>(got.gamma(t, k));
          ASSERT_TRUE(std::isfinite(got.b(t, k)));
        }
        EXPECT_NEAR(sum, t >= 20 && t < 40 ? 1.0 : 0.0, rounded_sums<Real>);
      }
    }
  });
}

TEST(ChainKernelsOfDouble, StatesMixUnlessATransitionIsTiny) {
  Chain chain(3, 1, 1);
  Smoothed<double> got(chain);
  EXPECT_TRUE(states_mix(got.weights()));
  got.transitions[4] = 1e-280;
  EXPECT_FALSE(states_mix(got.weights()));
  Smoothed<float> single(chain);
  single.transitions[4] = 1e-30f;
  EXPECT_FALSE(states_mix(single.weights()));
}

TYPED_TEST(ChainKernels, ImpossibleStepsEndTheirPieceAlone) {
  using Real = TypeParam;
  on_every_target([] {
    for (const double value : {-inf, nan, inf})
      for (const Index K : {1, 4, 12, 70}) {
        Chain chain(K, 30, 2);
        const Smoothed<Real> untouched = Smoothed<Real>(chain).run({{0, 10}, {20, 10}});
        for (Index k = 0; k < K; ++k) chain.logits[13 * K + k] = value;
        Smoothed<Real> got(chain);
        Padded<double> product(K, K, 0);
        std::vector<double> log_scales(static_cast<std::size_t>(K));

        chain_compose<Real>(got.weights(), got.b.view(), product.view(), log_scales.data());
        got.run({{0, 10}, {10, 10}, {20, 10}});

        EXPECT_EQ(got.impossible, 13);
        EXPECT_EQ(std::isnan(got.maxima[13]), value != -inf);
        EXPECT_EQ(log_scales, std::vector<double>(static_cast<std::size_t>(K), -inf));
        EXPECT_EQ(product.elements(), std::vector<double>(static_cast<std::size_t>(K * K), 0.0));
        for (Index t = 0; t < chain.T; ++t) {
          const bool inside = t >= 10 && t < 20;
          if (inside) {
            EXPECT_EQ(got.scales[t] > 0, t < 13);
          }
          for (Index k = 0; k < K; ++k) {
            ASSERT_EQ(got.gamma(t, k), inside ? Real(0) : untouched.gamma(t, k));
            ASSERT_EQ(got.b(t, k), inside ? Real(0) : untouched.b(t, k));
            if (t >= 13 && t < 20) {
              ASSERT_EQ(got.alpha(t, k), Real(0));
            }
          }
        }
      }
  });
}

TYPED_TEST(ChainKernels, ScaledEmissionsHaveAMaximumOfOne) {
  using Real = TypeParam;
  on_every_target([] {
    for_ragged_shapes([](Index rows, Index K, Index padding, Index shift) {
      Padded<Real> b(rows, K, padding, shift), logits(rows, K, padding, shift);
      b.fill(normal(K, 5.0));
      logits.fill(normal(K, 5.0));
      std::vector<double> maxima(static_cast<std::size_t>(rows));

      scale_emissions<Real>(b.view(), maxima.data());

      for (Index t = 0; t < rows; ++t) {
        const Real largest = *std::max_element(logits.view().row(t), logits.view().row(t) + K);
        EXPECT_EQ(maxima[t], static_cast<double>(largest));
        for (Index k = 0; k < K; ++k)
          ASSERT_NEAR(b(t, k), std::exp(static_cast<double>(logits(t, k) - largest)), 2 * static_cast<double>(eps<Real>));
      }
      EXPECT_TRUE(b.canaries_live());
    });
  });
}

// The best path by trying all, in lexical order from the last step: of ties the lowest last state, then the lowest
// state before it, and so on.
struct BestPath {
  double value = -inf;
  std::vector<std::int32_t> path;
};
BestPath best_path(const Chain& chain, const LogChainWeights& weights) {
  const auto [K, T] = std::pair(chain.K, chain.T);
  BestPath best;
  std::vector<std::int32_t> path(static_cast<std::size_t>(T));
  const auto visit = [&](auto&& self, Index t) -> void {
    if (t >= 0) {
      for (path[t] = 0; path[t] < K; ++path[t]) self(self, t - 1);
      return;
    }
    double value = weights.start[path[0]] + chain.logits[path[0]];
    for (Index s = 1; s < T; ++s) value += weights.transitions[path[s - 1] * K + path[s]] + chain.logits[s * K + path[s]];
    if (best.path.empty() || value > best.value) best = {value, path};
  };
  visit(visit, T - 1);
  return best;
}

// Small whole numbers tie often and add without rounding.
TYPED_TEST(ChainKernels, ViterbiFindsTheBestPathAndTiesGoToTheLowest) {
  using Real = TypeParam;
  on_every_target([] {
    for (Index K = 1; K <= 4; ++K)
      for (Index T = 1; T <= 7; ++T)
        for (std::uint64_t seed = 0; seed < 4; ++seed) {
          Chain chain(K, T, seed);
          auto coarse = [engine = std::mt19937_64(seed)](auto& values) mutable {
            for (double& value : values) value = engine() % 8 == 0 ? -inf : -static_cast<double>(engine() % 3);
          };
          coarse(chain.logits), coarse(chain.start), coarse(chain.transitions);
          const LogChainWeights weights{K, chain.start.data(), chain.transitions.data()};
          Padded<Real> log_b(T, K, 1);
          log_b.fill([&, e = 0]() mutable { return chain.logits[e++]; });
          std::vector<double> delta(static_cast<std::size_t>(K));
          std::vector<std::int32_t> path(static_cast<std::size_t>(T));
          Padded<BackPointer> from(T, K, 2);

          chain_viterbi<Real>(weights, log_b.view(), true, delta.data(), from.view());
          const auto last = std::max_element(delta.begin(), delta.end());
          chain_backtrack(from.view(), last - delta.begin(), path.data());

          const BestPath expected = best_path(chain, weights);
          ASSERT_EQ(*last, expected.value);
          if (expected.value > -inf) {
            ASSERT_EQ(path, expected.path) << K << " " << T << " " << seed;
          }
          EXPECT_TRUE(from.canaries_live());
        }
  });
}

TYPED_TEST(ChainKernels, ViterbiInPiecesIsTheWhole) {
  using Real = TypeParam;
  on_every_target([] {
    for (const Index K : state_counts) {
      const Index T = 30, cut = 11;
      const Chain chain(K, T, static_cast<std::uint64_t>(K));
      std::vector<double> start, transitions;
      for (const double value : chain.start) start.push_back(std::log(value));
      for (const double value : chain.transitions) transitions.push_back(std::log(value));
      const LogChainWeights weights{K, start.data(), transitions.data()};
      Padded<Real> log_b(T, K, 1);
      log_b.fill([&, e = 0]() mutable { return chain.logits[e++]; });
      const auto rows = [](auto view, Index first, Index count) {
        return decltype(view)(view.row(first), count, view.cols, view.stride);
      };
      const MatrixView<const Real> all = log_b.view();
      Padded<BackPointer> from(T, K, 0), cut_from(T, K, 3);
      std::vector<double> delta(static_cast<std::size_t>(K)), cut_delta(delta);
      std::vector<std::int32_t> path(static_cast<std::size_t>(T)), cut_path(path);

      chain_viterbi<Real>(weights, all, true, delta.data(), from.view());
      chain_viterbi<Real>(weights, rows(all, 0, cut), true, cut_delta.data(), {});
      chain_viterbi<Real>(weights, rows(all, cut, T - cut), false, cut_delta.data(), rows(cut_from.view(), cut, T - cut));
      chain_viterbi<Real>(weights, rows(all, 0, cut), true, std::vector<double>(cut_delta).data(),
                          rows(cut_from.view(), 0, cut));
      const Index last = std::max_element(delta.begin(), delta.end()) - delta.begin();
      chain_backtrack(from.view(), last, path.data());
      const MatrixView<const BackPointer> pointers = cut_from.view();
      const Index middle = chain_backtrack(rows(pointers, cut, T - cut), last, cut_path.data() + cut);
      chain_backtrack(rows(pointers, 0, cut), middle, cut_path.data());

      EXPECT_TRUE(same_bits(delta, cut_delta)) << K;
      EXPECT_EQ(path, cut_path) << K;
      std::vector<double> expected(static_cast<std::size_t>(K));
      for (Index t = 0; t < T; ++t) {
        std::vector<double> now(static_cast<std::size_t>(K), -inf);
        for (Index j = 0; j < K; ++j) {
          for (Index i = 0; i < K; ++i) now[j] = std::max(now[j], t == 0 ? start[j] : expected[i] + transitions[i * K + j]);
          now[j] += static_cast<double>(log_b(t, j));
        }
        expected = now;
      }
      EXPECT_EQ(delta, expected) << K;
    }
  });
}

}  // namespace
}  // namespace tally::cpu
