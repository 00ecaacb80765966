#include "core/backends/generic_chain.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "core/backends/cpu_lane.hpp"
#include "core/backends/generic_lane.hpp"

namespace tally {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

// Pieces of a cut sequence, the first of which begins it and the last of which ends it, and whole sequences around them.
std::vector<Piece> pieces_of(const std::vector<Index>& lengths, Index cut) {
  std::vector<Piece> pieces;
  Index first = 0, number = 0;
  for (std::size_t s = 0; s < lengths.size(); ++s)
    for (Index step = 0; step < lengths[s]; step += cut) {
      Piece piece;
      piece.first = first;
      piece.steps = std::min(cut, lengths[s] - step);
      piece.sequence = static_cast<Index>(s);
      piece.first_step = step;
      piece.begins = step == 0;
      piece.ends = step + piece.steps == lengths[s];
      if (lengths[s] > cut) piece.number = number++;
      pieces.push_back(piece);
      first += piece.steps;
    }
  return pieces;
}

// A chain of random weights, log-densities of M columns a state, and messages that are positive numbers.
template <class Real>
struct Problem {
  Index K, M, rows;
  std::vector<Piece> pieces;
  std::vector<double> exact;     // start, transitions and their transpose
  std::vector<Real> rounded, logits, columns, emissions, alpha, gamma;
  std::vector<double> messages, offsets, maxima, scales;
  std::vector<std::int64_t> impossible;

  Problem(Index states, Index mixtures, const std::vector<Index>& lengths, Index cut = 1 << 20, double spread = 1)
      : K(states), M(mixtures), pieces(pieces_of(lengths, cut)) {
    rows = pieces.back().first + pieces.back().steps;
    std::mt19937_64 engine(static_cast<std::uint64_t>(states));
    std::gamma_distribution<double> weight(1.0);
    std::normal_distribution<double> normal(0.0, spread);
    const auto draw = [&](auto& to, Index count, const auto& value) {
      for (Index i = 0; i < count; ++i) to.push_back(static_cast<std::remove_reference_t<decltype(to[0])>>(value()));
    };
    draw(exact, K + K * K, [&] { return weight(engine); });
    draw(logits, rows * K * M, [&] { return normal(engine); });
    draw(messages, 2 * K * static_cast<Index>(pieces.size()), [&] { return weight(engine); });
    draw(offsets, rows, [&] { return normal(engine); });
    for (std::size_t i = 0; i < messages.size(); i += static_cast<std::size_t>(2 * K)) scale(messages.data() + i);
    finish();
  }

  // Makes rows of weights sum to 1 and derives what follows from them.
  void finish() {
    exact.resize(static_cast<std::size_t>(K + 2 * K * K));
    for (Index i = 0; i <= K; ++i) scale(exact.data() + i * K);
    for (Index i = 0; i < K; ++i)
      for (Index j = 0; j < K; ++j) exact[static_cast<std::size_t>(K + K * K + j * K + i)] = transition(i, j);
    rounded.assign(exact.begin(), exact.end());
  }
  double& transition(Index i, Index j) { return exact[static_cast<std::size_t>(K + i * K + j)]; }
  Real& logit(Index row, Index column) { return logits[static_cast<std::size_t>(row * K * M + column)]; }

  generic::ChainBlock<Real> block() {
    const auto make_room = [](auto& values, Index count) {
      values.assign(static_cast<std::size_t>(count), std::numeric_limits<std::remove_reference_t<decltype(values[0])>>::quiet_NaN());
    };
    make_room(columns, rows * K * M);
    make_room(emissions, rows * K);
    make_room(alpha, rows * K);
    make_room(gamma, rows * K);
    make_room(maxima, rows);
    make_room(scales, rows);
    impossible.assign(pieces.size(), -7);
    generic::ChainBlock<Real> block;
    block.states = K;
    block.mixtures = M;
    block.start = rounded.data();
    block.transitions = rounded.data() + K;
    block.transposed = rounded.data() + K + K * K;
    block.exact_start = exact.data();
    block.exact_transitions = exact.data() + K;
    block.pieces = pieces.data();
    block.piece_count = static_cast<Index>(pieces.size());
    block.messages = messages.data();
    block.logits = MatrixView<const Real>(logits.data(), rows, K * M);
    block.offsets = offsets.data();
    block.log_of_nothing = -1e24;
    block.emissions = MatrixView<Real>(emissions.data(), rows, K);
    block.columns = M > 1 ? MatrixView<Real>(columns.data(), rows, K * M) : block.emissions;
    block.maxima = maxima.data();
    block.alpha = MatrixView<Real>(alpha.data(), rows, K);
    block.gamma = MatrixView<Real>(gamma.data(), rows, K);
    block.scales = scales.data();
    block.impossible = impossible.data();
    return block;
  }

 private:
  void scale(double* row) const {
    double sum = 0;
    for (Index k = 0; k < K; ++k) sum += row[k];
    for (Index k = 0; k < K; ++k) row[k] /= sum;
  }
};

template <class Real>
generic::ChainBlock<Real> recur(Problem<Real>& problem) {
  GenericLane lane;
  const generic::ChainBlock<Real> block = problem.block();
  lane.scale_emissions(block);
  for (Index row = 0; problem.M > 1 && row < problem.rows; ++row)
    for (Index k = 0; k < problem.K; ++k) {
      block.emissions(row, k) = 0;
      for (Index m = 0; m < problem.M; ++m) block.emissions(row, k) += block.columns(row, k * problem.M + m);
    }
  lane.chain_forward(block);
  lane.chain_backward(block);
  return block;
}

// The same by the CPU's kernels, whose own tests compare them to sums over all paths and to long double.
template <class Real>
struct OnCpu {
  std::vector<Real> emissions, alpha, gamma;
  std::vector<double> maxima, scales;
  std::vector<Index> beyond;
  cpu::ChainWeights<Real> weights;

  explicit OnCpu(Problem<Real>& problem) : emissions(problem.logits), alpha(emissions.size()), gamma(alpha) {
    const Index K = problem.K;
    CpuLane lane;
    maxima.resize(static_cast<std::size_t>(problem.rows));
    scales = maxima;
    weights = {K, problem.rounded.data(), problem.rounded.data() + K, problem.rounded.data() + K + K * K};
    const MatrixView<Real> b(emissions.data(), problem.rows, K), a(alpha.data(), problem.rows, K);
    lane.scale_emissions(b, maxima.data());
    for (std::size_t i = 0; i < maxima.size(); ++i) maxima[i] += problem.offsets[i];
    std::vector<cpu::ChainPiece> pieces;
    const generic::ChainBlock<Real> block = problem.block();
    for (const Piece& piece : problem.pieces)
      pieces.push_back({piece.first, piece.steps, block.incoming(piece), block.outgoing(piece)});
    lane.chain_forward(weights, pieces, MatrixView<const Real>(b), a, scales.data());
    lane.chain_backward(weights, pieces, b, MatrixView<const Real>(a), scales.data(),
                        MatrixView<Real>(gamma.data(), problem.rows, K), beyond);
  }
};

template <class T>
void expect_near(const std::vector<T>& found, const std::vector<T>& expected, double tolerance, Index K) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto wanted = static_cast<double>(expected[i]);
    ASSERT_NEAR(static_cast<double>(found[i]), wanted, tolerance * std::max(1.0, std::abs(wanted)))
        << K << " states, element " << i;
  }
}

// Forty steps of sums of at most 300 positive terms, in another order.
template <class Real>
constexpr double rounded_sums = 400 * static_cast<double>(std::numeric_limits<Real>::epsilon());

template <class Real>
class GenericChains : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(GenericChains, Precisions);

// One thread a state in a warp, in a wider one, and several states a thread.
const std::vector<Index> state_counts{1, 2, 7, 8, 9, 31, 32, 33, 100, 300};

TYPED_TEST(GenericChains, RecursionsAreTheCpus) {
  using Real = TypeParam;
  for (const Index K : state_counts) {
    Problem<Real> problem(K, 1, {1, 17, 50, 2, 33}, 20);
    const OnCpu<Real> expected(problem);

    recur(problem);

    expect_near(problem.alpha, expected.alpha, rounded_sums<Real>, K);
    expect_near(problem.gamma, expected.gamma, rounded_sums<Real>, K);
    expect_near(problem.emissions, expected.emissions, rounded_sums<Real>, K);
    expect_near(problem.scales, expected.scales, rounded_sums<Real>, K);
    expect_near(problem.maxima, expected.maxima, rounded_sums<Real>, K);
    EXPECT_EQ(std::count(problem.impossible.begin(), problem.impossible.end(), -1), std::ssize(problem.impossible));
  }
}

TYPED_TEST(GenericChains, ProductsAreTheCpus) {
  using Real = TypeParam;
  for (const Index K : state_counts) {
    Problem<Real> problem(K, 1, {50}, 20);
    const OnCpu<Real> expected(problem);
    const Index size = (K + 1) * K;
    std::vector<double> products(static_cast<std::size_t>(3 * size)), of_cpu(static_cast<std::size_t>(size));
    GenericLane lane;
    const generic::ChainBlock<Real> block = problem.block();
    lane.scale_emissions(block);

    lane.chain_compose(block, products.data());

    recur(problem);
    for (Index k = 0; k < K; ++k)
      EXPECT_NEAR(products[static_cast<std::size_t>(k)], static_cast<double>(block.alpha(19, k)), rounded_sums<Real>);
    for (const Index p : {1, 2}) {
      Problem<Real> again(K, 1, {50}, 20);
      const generic::ChainBlock<Real> scaled = again.block();
      lane.scale_emissions(scaled);
      const Piece& piece = problem.pieces[static_cast<std::size_t>(p)];
      CpuLane().chain_compose(expected.weights,
                              MatrixView<const Real>(scaled.emissions.row(piece.first), piece.steps, K),
                              MatrixView<double>(of_cpu.data(), K, K), of_cpu.data() + K * K);
      const auto first = products.begin() + p * size;
      expect_near(std::vector<double>(first, first + size), of_cpu, rounded_sums<Real>, K);
    }
  }
}

// Sums over all paths and over what each state emits by.
TYPED_TEST(GenericChains, PosteriorIsTheSumOverPaths) {
  using Real = TypeParam;
  for (const Index K : {1, 2, 3})
    for (const Index M : {1, 2})
      for (const Index T : {1, 2, 5}) {
        Problem<Real> problem(K, M, {T});
        std::vector<double> gamma(static_cast<std::size_t>(T * K)), xi(static_cast<std::size_t>(K * K));
        double likelihood = 0;
        std::vector<Index> path(static_cast<std::size_t>(T));
        const auto emission = [&](Index t, Index k) {
          double sum = 0;
          for (Index m = 0; m < M; ++m) sum += std::exp(static_cast<double>(problem.logit(t, k * M + m)));
          return sum;
        };
        const auto visit = [&](auto&& self, Index t, double p) -> void {
          if (t == T) {
            likelihood += p;
            for (Index s = 0; s < T; ++s) gamma[static_cast<std::size_t>(s * K + path[static_cast<std::size_t>(s)])] += p;
            for (std::size_t s = 1; s < path.size(); ++s) xi[static_cast<std::size_t>(path[s - 1] * K + path[s])] += p;
            return;
          }
          for (Index k = 0; k < K; ++k) {
            path[static_cast<std::size_t>(t)] = k;
            const double step = t == 0 ? problem.exact[static_cast<std::size_t>(k)]
                                       : problem.transition(path[static_cast<std::size_t>(t - 1)], k);
            self(self, t + 1, p * step * emission(t, k));
          }
        };
        visit(visit, 0, 1);

        const generic::ChainBlock<Real> block = recur(problem);
        GenericLane lane;
        std::vector<double> objectives(static_cast<std::size_t>(T)), starts(static_cast<std::size_t>(K)), sums(xi.size());
        double objective = 3;
        lane.chain_objective(block, nullptr, objectives.data(), &objective);
        lane.add_starts(block, nullptr, starts.data());
        const MatrixView<const Real> before(block.alpha.data, T - 1, K), after(block.emissions.row(1), T - 1, K);
        if (T > 1) lane.add_transitions(before, after, block.exact_transitions, sums.data());

        double offset = 3;
        for (const double each : problem.offsets) offset += each;
        EXPECT_NEAR(objective, offset + std::log(likelihood), 10 * rounded_sums<Real>);
        for (std::size_t i = 0; i < gamma.size(); ++i)
          ASSERT_NEAR(static_cast<double>(problem.gamma[i]), gamma[i] / likelihood, rounded_sums<Real>);
        for (std::size_t k = 0; k < starts.size(); ++k) EXPECT_NEAR(starts[k], gamma[k] / likelihood, rounded_sums<Real>);
        for (std::size_t i = 0; i < xi.size(); ++i) EXPECT_NEAR(sums[i], xi[i] / likelihood, 10 * rounded_sums<Real>);
      }
}

// Only state 0 can be there, and every other explains each step far better; in a piece that is composed, too.
TYPED_TEST(GenericChains, StatesFarLessLikelyThanOthersAreFound) {
  using Real = TypeParam;
  for (const Index K : {3, 20, 40})
    for (const Index M : {1, 2}) {
      Problem<Real> problem(K, M, {12}, 4);
      std::fill_n(problem.exact.begin(), 2 * K, 0.0);
      problem.exact[0] = problem.transition(0, 0) = 1;
      problem.finish();
      for (std::size_t i = 0; i < problem.messages.size(); ++i)
        problem.messages[i] = static_cast<Index>(i) % (2 * K) == 0 || static_cast<Index>(i) % (2 * K) >= K ? 1 : 0;
      double expected = 0;
      for (Index row = 0; row < 12; ++row) {
        double sum = 0;
        for (Index m = 0; m < M; ++m) {
          problem.logit(row, m) -= 2000;
          sum += std::exp(static_cast<double>(problem.logit(row, m)) + 2000);
        }
        expected += std::log(sum) - 2000 + problem.offsets[static_cast<std::size_t>(row)];
      }
      const Index size = (K + 1) * K;
      std::vector<double> products(static_cast<std::size_t>(3 * size));

      GenericLane lane;
      double objective = 0;
      std::vector<double> objectives(12);
      lane.chain_objective(recur(problem), nullptr, objectives.data(), &objective);
      const generic::ChainBlock<Real> block = problem.block();
      lane.scale_emissions(block);
      for (Index row = 0; M > 1 && row < 12; ++row)
        for (Index k = 0; k < K; ++k) block.emissions(row, k) = block.columns(row, 2 * k) + block.columns(row, 2 * k + 1);
      lane.chain_compose(block, products.data());

      EXPECT_NEAR(objective, expected, 1e-3);
      const double* const second = products.data() + size;
      EXPECT_EQ(second[0], 1);
      EXPECT_EQ(std::count(second, second + K, 0), K - 1);
      EXPECT_LT(second[K * K], -4 * 1900);
      EXPECT_GT(second[K * K], -4 * 2100);
    }
}

TYPED_TEST(GenericChains, AnImpossibleStepIsFoundAndItsPieceIsZero) {
  using Real = TypeParam;
  for (const Index K : {3, 40}) {
    Problem<Real> problem(K, 1, {5, 6, 7});
    for (Index k = 0; k < K; ++k) problem.logit(8, k) = Real(-1e25);
    for (Index k = 0; k < K; ++k) problem.logit(13, k) = -std::numeric_limits<Real>::infinity();
    const std::vector<double> weights{1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2};

    const generic::ChainBlock<Real> block = recur(problem);
    GenericLane lane;
    double objective = 0;
    std::vector<double> objectives(18);
    std::int64_t first = 0, first_that_weighs = 0, earlier = 104;
    lane.chain_objective(block, weights.data(), objectives.data(), &objective);
    lane.for_each_group(generic::FirstImpossible{block.pieces, block.impossible, 3, nullptr, 100, &first});
    lane.for_each_group(generic::FirstImpossible{block.pieces, block.impossible, 3, weights.data(), 100, &first_that_weighs});
    lane.for_each_group(generic::FirstImpossible{block.pieces, block.impossible, 3, nullptr, 100, &earlier});

    EXPECT_EQ(problem.impossible, (std::vector<std::int64_t>{-1, 8, 13}));
    EXPECT_EQ(first - 1, 108);
    EXPECT_EQ(first_that_weighs - 1, 113);
    EXPECT_EQ(earlier, 104);
    EXPECT_EQ(objective, -inf);
    EXPECT_EQ(objectives[8], -inf);
    EXPECT_TRUE(std::isfinite(objectives[7]));
    for (Index row = 0; row < 18; ++row)
      for (Index k = 0; k < K; ++k) {
        ASSERT_EQ(block.gamma(row, k) > 0, row < 5) << row;
        ASSERT_EQ(block.emissions(row, k) > 0, row > 0 && row < 5) << row;
        ASSERT_EQ(block.alpha(row, k) > 0, row < 8 || row == 11 || row == 12) << row;
      }
  }
}

// Entries of A that are 0 stay 0, whatever stands beside them; starts are weighted and of all pieces that begin.
TYPED_TEST(GenericChains, SumsLeaveOutWhatCannotBe) {
  using Real = TypeParam;
  constexpr Index K = 2, sequences = 600;
  Problem<Real> problem(K, 1, std::vector<Index>(sequences, 1));
  generic::ChainBlock<Real> block = problem.block();
  for (Index i = 0; i < sequences * K; ++i) block.gamma.data[i] = static_cast<Real>(i % 3);
  std::vector<double> weights(sequences, 2), starts(K, 1), sums{5, 5, 5, 5};
  const std::vector<double> transitions{0.5, 0, 0.25, 1};
  const std::vector<Real> before{1, Real(1e30), 1, 0}, after{1, 1, Real(1e30), 1};

  GenericLane().add_starts(block, weights.data(), starts.data());
  GenericLane().add_transitions(MatrixView<const Real>(before.data(), 1, K), MatrixView<const Real>(after.data(), 1, K),
                                transitions.data(), sums.data());

  EXPECT_EQ(starts, (std::vector<double>{1 + 2 * 200 * (0 + 2 + 1), 1 + 2 * 200 * (1 + 0 + 2)}));
  EXPECT_EQ(sums[0], 5.5);
  EXPECT_EQ(sums[1], 5);
  EXPECT_GT(sums[2], 1e29);
}

}  // namespace
}  // namespace tally
