#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include <benchmark/benchmark.h>

#include "core/backends/cpu_kernels.hpp"
#include "core/backends/nearest.hpp"

// Time a row (`time_per_row`) of the kernels on blocks of 256 rows, D features and K columns.
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

template <class Real>
void add_statistics(benchmark::State& state) {
  const Index count = state.range(0);
  const auto from = normal<Real>(count);
  std::vector<double> to(static_cast<std::size_t>(count));
  for (auto _ : state) {
    add_to_double<Real>(from.data(), to.data(), count);
    benchmark::ClobberMemory();
  }
}

const std::vector<std::int64_t> widths{9, 17, 32, 128}, columns{16, 50, 64, 1024};

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
BENCHMARK_TEMPLATE(add_statistics, double)->Arg(561 * 64);
BENCHMARK_TEMPLATE(add_statistics, float)->Arg(561 * 64);

}  // namespace
}  // namespace tally::cpu

BENCHMARK_MAIN();
