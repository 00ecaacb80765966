#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include <benchmark/benchmark.h>

#include "core/backends/chain.hpp"
#include "core/blas.hpp"

// The E-step of a chain of K states, 40000 steps in all, on one thread: time for each (step, state, state)
// (`time_per_term`) and operations a second; forward, backward and the product for xi count 2 T K^2 each.
namespace tally::cpu {
namespace {

constexpr Index steps = 40000;

template <class Real>
struct Chain {
  Index K;
  std::vector<Real> start, transitions, transposed, b, w, alpha, gamma, xi;
  std::vector<double> scales, maxima;
  std::vector<ChainPiece> pieces;
  std::vector<Index> beyond;

  Chain(Index states, Index piece_count)
      : K(states),
        start(static_cast<std::size_t>(K), Real(1) / static_cast<Real>(K)),
        transitions(static_cast<std::size_t>(K * K)),
        transposed(transitions.size()),
        b(static_cast<std::size_t>(steps * K)),
        alpha(b.size()),
        gamma(b.size()),
        xi(transitions.size()),
        scales(static_cast<std::size_t>(steps)),
        maxima(static_cast<std::size_t>(steps)) {
    std::mt19937_64 engine(7);
    std::uniform_real_distribution<Real> uniform(Real(0.1), Real(1));
    for (Index i = 0; i < K; ++i) {
      Real sum = 0;
      for (Index j = 0; j < K; ++j) sum += transitions[i * K + j] = uniform(engine);
      for (Index j = 0; j < K; ++j) transposed[j * K + i] = transitions[i * K + j] /= sum;
    }
    for (Real& value : b) value = 4 * uniform(engine);
    scale_emissions<Real>({b.data(), steps, K}, maxima.data());
    w = b;
    for (Index p = 0; p < piece_count; ++p)
      pieces.push_back({p * (steps / piece_count), steps / piece_count, nullptr, nullptr});
  }

  ChainWeights<Real> weights() const { return {K, start.data(), transitions.data(), transposed.data()}; }
  void forward() { chain_forward<Real>(weights(), pieces, {b.data(), steps, K}, {alpha.data(), steps, K}, scales.data()); }
  void backward() {
    chain_backward<Real>(weights(), pieces, {w.data(), steps, K}, {alpha.data(), steps, K}, scales.data(),
                         {gamma.data(), steps, K}, beyond);
  }
  void add_xi() {
    blas::multiply_tn({alpha.data(), steps - 1, K}, {w.data() + K, steps - 1, K}, 0, MatrixView<Real>(xi.data(), K, K));
  }
};

void report(benchmark::State& state, Index operations_per_term, Index rows = steps) {
  const double terms = static_cast<double>(rows * state.range(0) * state.range(0));
  state.counters["time_per_term"] =
      benchmark::Counter(terms, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.counters["operations"] = benchmark::Counter(terms * static_cast<double>(operations_per_term),
                                                    benchmark::Counter::kIsIterationInvariantRate);
  state.counters["time_per_step"] = benchmark::Counter(
      static_cast<double>(rows), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

template <class Real>
void forward(benchmark::State& state) {
  Chain<Real> chain(state.range(0), state.range(1));
  for (auto _ : state) chain.forward();
  report(state, 2);
}

template <class Real>
void backward(benchmark::State& state) {
  Chain<Real> chain(state.range(0), state.range(1));
  chain.forward();
  for (auto _ : state) {
    chain.backward();
    state.PauseTiming();
    chain.w = chain.b;
    state.ResumeTiming();
  }
  report(state, 2);
}

template <class Real>
void xi(benchmark::State& state) {
  Chain<Real> chain(state.range(0), state.range(1));
  chain.forward();
  chain.backward();
  for (auto _ : state) chain.add_xi();
  report(state, 2);
}

template <class Real>
void expectation(benchmark::State& state) {
  Chain<Real> chain(state.range(0), state.range(1));
  for (auto _ : state) {
    chain.forward();
    chain.backward();
    chain.add_xi();
    state.PauseTiming();
    chain.w = chain.b;
    state.ResumeTiming();
  }
  report(state, 6);
}

template <class Real>
void compose(benchmark::State& state) {
  const Index K = state.range(0), rows = 400;
  const Chain<Real> chain(K, 1);
  std::vector<double> product(static_cast<std::size_t>(K * K)), log_scales(static_cast<std::size_t>(K));
  for (auto _ : state)
    chain_compose<Real>(chain.weights(), {chain.b.data(), rows, K}, {product.data(), K, K}, log_scales.data());
  report(state, 2 * K, rows);
}

template <class Real>
void viterbi(benchmark::State& state) {
  const Index K = state.range(0);
  const Chain<Real> chain(K, 1);
  const std::vector<double> start(chain.start.begin(), chain.start.end()),
      transitions(chain.transitions.begin(), chain.transitions.end());
  std::vector<double> delta(static_cast<std::size_t>(K));
  std::vector<BackPointer> from(chain.b.size());
  for (auto _ : state)
    chain_viterbi<Real>({K, start.data(), transitions.data()}, {chain.b.data(), steps, K}, true, delta.data(),
                        {from.data(), steps, K});
  report(state, 2);
}

template <class Real>
void emissions(benchmark::State& state) {
  Chain<Real> chain(state.range(0), 1);
  for (auto _ : state) scale_emissions<Real>({chain.w.data(), steps, chain.K}, chain.maxima.data());
  report(state, 2);
}

const std::vector<std::int64_t> states{4, 8, 16, 32, 64, 128}, pieces{1, 100};

BENCHMARK_TEMPLATE(forward, double)->ArgsProduct({states, pieces});
BENCHMARK_TEMPLATE(forward, float)->ArgsProduct({states, pieces});
BENCHMARK_TEMPLATE(backward, double)->ArgsProduct({states, pieces});
BENCHMARK_TEMPLATE(backward, float)->ArgsProduct({states, pieces});
BENCHMARK_TEMPLATE(xi, double)->ArgsProduct({states, {1}});
BENCHMARK_TEMPLATE(xi, float)->ArgsProduct({states, {1}});
BENCHMARK_TEMPLATE(expectation, double)->ArgsProduct({states, pieces});
BENCHMARK_TEMPLATE(expectation, float)->ArgsProduct({states, pieces});
BENCHMARK_TEMPLATE(compose, double)->ArgsProduct({states});
BENCHMARK_TEMPLATE(viterbi, double)->ArgsProduct({states});
BENCHMARK_TEMPLATE(emissions, double)->ArgsProduct({states});
BENCHMARK_TEMPLATE(emissions, float)->ArgsProduct({states});

}  // namespace
}  // namespace tally::cpu

int main(int argc, char** argv) {
  tally::blas::use_one_thread();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
