#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "core/backends/cpu_kernels.hpp"
#include "core/backends/nearest.hpp"
#include "core/backends/products.hpp"
#include "core/blas.hpp"
#include "core/block.hpp"

// Time a row (`time_per_row`) of the kernels on blocks of 256 rows, D features and K columns; operations a second of products.
namespace tally::cpu {
namespace {

constexpr Index rows = 256;

template <class Real>
std::vector<Real> normal(Index count, double scale = 1.0) {
  std::mt19937_64 engine(7);
  std::normal_distribution<double> distribution(0.0, scale);
  std::vector<Real> values(static_cast<std::size_t>(count));
  for (Real& value : values) value = static_cast<Real>(distribution(engine));
  return values;
}

void report(benchmark::State& state) {
  state.counters["time_per_row"] = benchmark::Counter(
      static_cast<double>(rows), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

template <class Real>
void quadratic(benchmark::State& state) {
  const Index D = state.range(0), P = 1 + D + D * (D + 1) / 2;
  const auto x = normal<Real>(rows * D);
  std::vector<Real> out(static_cast<std::size_t>(rows * P));
  for (auto _ : state) {
    quadratic_features<Real>({x.data(), rows, D}, {out.data(), rows, P});
    benchmark::ClobberMemory();
  }
  report(state);
}

template <class Real>
void softmax(benchmark::State& state) {
  const Index K = state.range(0);
  const auto fresh = normal<Real>(rows * K, 10.0);
  auto logits = fresh;
  std::vector<double> objective(rows);
  RowTerms terms;
  terms.objective = objective.data();
  for (auto _ : state) {
    std::copy(fresh.begin(), fresh.end(), logits.begin());
    benchmark::DoNotOptimize(softmax_rows<Real>({logits.data(), rows, K}, terms));
  }
  report(state);
}

template <class Real>
void argmax(benchmark::State& state) {
  const Index K = state.range(0);
  const auto fresh = normal<Real>(rows * K);
  auto logits = fresh;
  std::vector<std::int32_t> labels(rows);
  for (auto _ : state) {
    std::copy(fresh.begin(), fresh.end(), logits.begin());
    benchmark::DoNotOptimize(argmax_rows<Real>({logits.data(), rows, K}, RowTerms{}, labels.data()));
  }
  report(state);
}

// Rows around K planted centres.
template <class Real>
struct Clusters {
  Index D, K;
  std::vector<double> exact, half_norms;
  std::vector<Real> x, panels;
  double largest_norm = 0;

  Clusters(Index width, Index count) : D(width), K(count), exact(normal<double>(count * width)) {
    x = normal<Real>(rows * D, 0.3);
    for (Index k = 0; k < K; ++k) {
      double norm = 0;
      for (Index d = 0; d < D; ++d) norm += exact[k * D + d] * exact[k * D + d];
      half_norms.push_back(norm / 2);
      largest_norm = std::max(largest_norm, std::sqrt(norm));
    }
    for (Index i = 0; i < rows; ++i)
      for (Index d = 0; d < D; ++d) x[i * D + d] += static_cast<Real>(exact[(i * 7919 % K) * D + d]);
    std::vector<double> unrounded(static_cast<std::size_t>(panels_size(K, D)));
    write_panels({exact.data(), K, D}, half_norms.data(), unrounded.data());
    panels.assign(unrounded.begin(), unrounded.end());
  }

  double find(std::int32_t* labels) const {
    const Centres<Real> centres{{exact.data(), K, D}, half_norms.data(), &largest_norm, panels.data()};
    return nearest_rows<Real>({x.data(), rows, D}, centres, RowTerms{}, labels);
  }
};

template <class Real>
void nearest(benchmark::State& state) {
  const Clusters<Real> clusters(state.range(0), state.range(1));
  std::vector<std::int32_t> labels(rows);
  for (auto _ : state) benchmark::DoNotOptimize(clusters.find(labels.data()));
  report(state);
}

template <class Real>
void add_by_label(benchmark::State& state) {
  const Clusters<Real> clusters(state.range(0), state.range(1));
  std::vector<std::int32_t> labels(rows);
  clusters.find(labels.data());
  std::vector<double> sums(static_cast<std::size_t>(clusters.K * (1 + clusters.D)));
  for (auto _ : state) {
    add_rows_by_label<Real>({clusters.x.data(), rows, clusters.D}, labels.data(), nullptr,
                            {clusters.exact.data(), clusters.K, clusters.D}, {sums.data(), clusters.K, 1 + clusters.D});
    benchmark::ClobberMemory();
  }
  report(state);
}

// Products of a tile: P features, K components; by Tally's kernels and by the library's, which packs for each call.
enum class By { tally, library };

template <class Real, By by, bool transposed>
void product(benchmark::State& state) {
  const Index P = state.range(0), K = state.range(1);
  const auto features = normal<Real>(tile_rows * P), weights = normal<Real>(tile_rows * K), coefficients = normal<Real>(K * P);
  std::vector<Real> logits(static_cast<std::size_t>(tile_rows * K)), rounded(static_cast<std::size_t>(K * P));
  std::vector<double> sums(static_cast<std::size_t>(K * P));
  const MatrixView<const Real> x(features.data(), tile_rows, P), posterior(weights.data(), tile_rows, K), eta(coefficients.data(), K, P);
  const MatrixView<Real> out(logits.data(), tile_rows, K);
  for (auto _ : state) {
    if constexpr (transposed && by == By::tally)
      add_multiply_tn(posterior, x, MatrixView<double>(sums.data(), K, P));
    else if constexpr (transposed)
      blas::multiply_tn(posterior, x, Real(1), MatrixView<Real>(rounded.data(), K, P));
    else if constexpr (by == By::tally)
      multiply_nt(x, eta, out);
    else
      blas::multiply_nt(x, eta, out);
    benchmark::ClobberMemory();
  }
  state.counters["flops"] = benchmark::Counter(2.0 * static_cast<double>(tile_rows * P * K),
                                               benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

const std::vector<std::int64_t> widths{9, 17, 32, 128}, columns{16, 50, 64, 1024};

void shapes(benchmark::internal::Benchmark* bench) {
  for (const auto& [P, K] : std::vector<std::pair<Index, Index>>{{17, 4}, {33, 1}, {33, 64}, {45, 16}, {65, 64}, {171, 50},
                                                                 {528, 1}, {561, 32}, {561, 64}, {257, 1024}})
    bench->Args({P, K});
}
#define TALLY_PRODUCTS(Real)                                                                    \
  BENCHMARK_TEMPLATE(product, Real, By::tally, false)->Apply(shapes);                           \
  BENCHMARK_TEMPLATE(product, Real, By::library, false)->Apply(shapes);                         \
  BENCHMARK_TEMPLATE(product, Real, By::tally, true)->Apply(shapes);                            \
  BENCHMARK_TEMPLATE(product, Real, By::library, true)->Apply(shapes)
TALLY_PRODUCTS(double);
TALLY_PRODUCTS(float);

BENCHMARK_TEMPLATE(quadratic, double)->ArgsProduct({widths});
BENCHMARK_TEMPLATE(quadratic, float)->ArgsProduct({widths});
BENCHMARK_TEMPLATE(softmax, double)->ArgsProduct({columns});
BENCHMARK_TEMPLATE(softmax, float)->ArgsProduct({columns});
BENCHMARK_TEMPLATE(argmax, double)->ArgsProduct({columns});
BENCHMARK_TEMPLATE(argmax, float)->ArgsProduct({columns});
BENCHMARK_TEMPLATE(nearest, double)->ArgsProduct({widths, columns});
BENCHMARK_TEMPLATE(nearest, float)->ArgsProduct({widths, columns});
BENCHMARK_TEMPLATE(add_by_label, double)->ArgsProduct({widths, columns});
BENCHMARK_TEMPLATE(add_by_label, float)->ArgsProduct({widths, columns});

}  // namespace
}  // namespace tally::cpu

int main(int argc, char** argv) {
  tally::blas::use_one_thread();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
