#include "algorithms/latent/stationary.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "core/blas.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

// Which states can be reached from `from`, itself included; backwards: from which states `from` can.
std::vector<char> reached(MatrixView<const double> A, Index from, bool backwards) {
  std::vector<char> seen(at(A.rows), 0);
  std::vector<Index> open = {from};
  seen[at(from)] = 1;
  while (!open.empty()) {
    const Index i = open.back();
    open.pop_back();
    for (Index j = 0; j < A.rows; ++j)
      if (!seen[at(j)] && (backwards ? A(j, i) : A(i, j)) > 0) {
        seen[at(j)] = 1;
        open.push_back(j);
      }
  }
  return seen;
}

// The states of a set that the chain never leaves and that `from` leads to.
std::vector<char> closed_set(MatrixView<const double> A, Index from) {
  for (;;) {
    std::vector<char> set = reached(A, from, false);
    const std::vector<char> back = reached(A, from, true);
    Index gone = 0;  // the first state without a way back
    while (gone < A.rows && !(set[at(gone)] && !back[at(gone)])) ++gone;
    if (gone == A.rows) return set;
    from = gone;
  }
}

// What may go wrong with a stationary distribution, in words; empty: nothing.
std::string ambiguity(MatrixView<const double> A, const std::vector<char>& closed) {
  const auto one = static_cast<Index>(std::find(closed.begin(), closed.end(), 1) - closed.begin());
  const std::vector<char> before = reached(A, one, true);
  for (Index i = 0; i < A.rows; ++i) {
    if (before[at(i)]) continue;
    const std::vector<char> other_set = closed_set(A, i);
    const auto other = static_cast<Index>(std::find(other_set.begin(), other_set.end(), 1) - other_set.begin());
    return "has no unique stationary distribution: neither of the states " + std::to_string(one) + " and " +
           std::to_string(other) + " (counted from 0) ever leads to the other";
  }
  return {};
}

struct Stationary {
  std::vector<double> distribution;  // empty where there is none
  std::string failure;
};

Stationary solve_stationary(MatrixView<const double> A) {
  const std::vector<char> closed = closed_set(A, 0);
  if (std::string failure = ambiguity(A, closed); !failure.empty()) return {{}, std::move(failure)};
  std::vector<Index> states;
  for (Index i = 0; i < A.rows; ++i)
    if (closed[at(i)]) states.push_back(i);

  const auto R = static_cast<Index>(states.size());
  std::vector<double> work(at(R * R));
  const MatrixView<double> P(work.data(), R, R);
  for (Index i = 0; i < R; ++i)
    for (Index j = 0; j < R; ++j) P(i, j) = A(states[at(i)], states[at(j)]);
  for (Index n = R - 1; n > 0; --n) {
    double leaving = 0;
    for (Index j = 0; j < n; ++j) leaving += P(n, j);
    for (Index i = 0; i < n; ++i) {
      P(i, n) /= leaving;
      for (Index j = 0; j < n; ++j) P(i, j) += P(i, n) * P(n, j);
    }
  }
  std::vector<double> unscaled(at(R));
  double sum = unscaled[0] = 1;
  for (Index n = 1; n < R; ++n) {
    for (Index i = 0; i < n; ++i) unscaled[at(n)] += unscaled[at(i)] * P(i, n);
    sum += unscaled[at(n)];
  }
  if (!std::isfinite(sum)) return {{}, "has transitions too improbable for its stationary distribution to be computed"};
  Stationary result;
  result.distribution.resize(at(A.rows));
  for (Index i = 0; i < R; ++i) result.distribution[at(states[at(i)])] = unscaled[at(i)] / sum;
  return result;
}

// x of the largest sum_j n_j log x_j + c_j x_j among distributions over the entries where `now` is positive; n has a
// positive entry there. From its derivative, x_j = n_j / (l - c_j) with l such that they sum to 1.
void best_row(std::span<const double> n, std::span<const double> c, std::span<const double> now, std::span<double> x) {
  const auto K = n.size();
  double top = -std::numeric_limits<double>::infinity();  // of c; all below is relative to it
  for (std::size_t j = 0; j < K; ++j)
    if (now[j] > 0) top = std::max(top, c[j]);
  double l = -std::numeric_limits<double>::infinity();
  for (std::size_t j = 0; j < K; ++j)
    if (now[j] > 0 && n[j] > 0)
      l = std::max({l, c[j] - top + n[j], std::nextafter(c[j] - top, std::numeric_limits<double>::infinity())});
  // 1 / sum rises concavely in l and is at most 1 at first, so that Newton's steps on it go up and never too far.
  for (int step = 0; step < 200; ++step) {
    double sum = 0, slope = 0;
    for (std::size_t j = 0; j < K; ++j) {
      if (!(now[j] > 0 && n[j] > 0)) continue;
      const double share = n[j] / (l - (c[j] - top));
      sum += share;
      slope += share / (l - (c[j] - top));
    }
    const double next = l + (sum - 1) * sum / slope;
    if (!(next > l)) break;
    l = next;
  }
  // An entry without counts that is worth more than l takes what the others leave.
  std::size_t heir = K;
  for (std::size_t j = 0; j < K; ++j)
    if (now[j] > 0 && !(n[j] > 0) && c[j] - top > (heir < K ? c[heir] - top : l)) heir = j;
  if (heir < K) l = c[heir] - top;
  double sum = 0;
  for (std::size_t j = 0; j < K; ++j) {
    x[j] = now[j] > 0 && n[j] > 0 ? n[j] / (l - (c[j] - top)) : 0;
    sum += x[j];
  }
  if (heir < K) {
    x[heir] = std::max(0.0, 1 - sum);
    sum += x[heir];
  }
  for (std::size_t j = 0; j < K; ++j) x[j] /= sum;
}

// f of maximize_stationary, and the way up from a point.
class StationaryObjective {
 public:
  StationaryObjective(std::span<const double> starts, MatrixView<const double> counts)
      : starts_(starts), counts_(counts), K_(counts.rows), system_(at(K_ * K_)), h_(at(K_)), n_(at(K_)), c_(at(K_)) {
    for (Index i = 0; i < K_; ++i) {
      row_counts_.push_back(0);
      for (Index j = 0; j < K_; ++j) row_counts_.back() += counts(i, j);
      all_starts_ += starts[at(i)];
      total_ += row_counts_.back() + starts[at(i)];
    }
  }

  double total() const { return total_; }
  bool counted(Index row) const { return row_counts_[at(row)] > 0; }

  // f at A, -infinity where A makes what was counted impossible.
  double value(MatrixView<const double> A) const {
    constexpr double impossible = -std::numeric_limits<double>::infinity();
    const std::vector<double> distribution = solve_stationary(A).distribution;
    if (distribution.empty()) return impossible;
    double sum = 0;
    for (Index i = 0; i < K_; ++i) {
      if (starts_[at(i)] > 0) sum += starts_[at(i)] * std::log(distribution[at(i)]);
      for (Index j = 0; j < K_; ++j)
        if (counts_(i, j) > 0) sum += counts_(i, j) * std::log(A(i, j));
    }
    return std::isnan(sum) ? impossible : sum;
  }

  // Takes the derivatives at A, where f is finite: that of sum_k starts_k log d_k by A_ij is d_i h_j with
  // (I - A + 1 d) h = starts / d (Schweitzer, Journal of Applied Probability 5, 1968). Returns false where rounding
  // leaves none.
  bool linearise(MatrixView<const double> A) {
    distribution_ = solve_stationary(A).distribution;
    const MatrixView<double> S(system_.data(), K_, K_);
    for (Index i = 0; i < K_; ++i) {
      for (Index j = 0; j < K_; ++j) S(i, j) = (i == j ? 1 : 0) - A(i, j) + distribution_[at(j)];
      h_[at(i)] = starts_[at(i)] > 0 ? starts_[at(i)] / distribution_[at(i)] : 0;
    }
    return blas::solve(S, h_);
  }

  // Where f would be largest if log d changed linearly from A on and counts were as though A had been seen `damping`
  // times more: that function is concave and has the gradient of f at A, so that f rises at first on the way to
  // `target`. Returns its slope.
  double target(MatrixView<const double> A, double damping, MatrixView<double> target) {
    double slope = 0;
    for (Index i = 0; i < K_; ++i) {
      const std::span<const double> now(A.row(i), at(K_));
      const std::span<double> x(target.row(i), at(K_));
      std::copy(now.begin(), now.end(), x.begin());
      if (!counted(i)) continue;
      const double seen = damping * all_starts_ * distribution_[at(i)];
      for (Index j = 0; j < K_; ++j) {
        n_[at(j)] = counts_(i, j) + seen * A(i, j);
        c_[at(j)] = distribution_[at(i)] * h_[at(j)];
      }
      best_row(n_, c_, now, x);
      for (Index j = 0; j < K_; ++j)
        if (A(i, j) > 0) slope += (counts_(i, j) / A(i, j) + c_[at(j)]) * (x[at(j)] - A(i, j));
    }
    return slope;
  }

 private:
  std::span<const double> starts_;
  MatrixView<const double> counts_;
  Index K_;
  double total_ = 0, all_starts_ = 0;
  std::vector<double> row_counts_, distribution_;
  std::vector<double> system_, h_, n_, c_;
};

}  // namespace

std::vector<double> stationary_distribution(MatrixView<const double> transitions) {
  Stationary result = solve_stationary(transitions);
  if (!result.failure.empty()) throw DataError("the transition matrix " + result.failure);
  return std::move(result.distribution);
}

void maximize_stationary(std::span<const double> starts, MatrixView<const double> counts,
                         MatrixView<double> transitions) {
  constexpr int most_trials = 200;
  constexpr double smallest_gain = 1e-13;  // for each unit of weight: what rounding makes of f anyway
  const Index K = counts.rows;
  StationaryObjective f(starts, counts);
  double best = f.value(transitions);

  std::vector<double> trial(at(K * K));
  const MatrixView<double> tried(trial.data(), K, K);
  const auto take_trial = [&](double value) {
    best = value;
    for (Index i = 0; i < K; ++i) std::copy_n(tried.row(i), K, transitions.row(i));
  };
  for (Index i = 0; i < K; ++i) {
    double sum = 0;
    for (Index j = 0; j < K; ++j) sum += transitions(i, j) > 0 ? counts(i, j) : 0;
    for (Index j = 0; j < K; ++j)
      tried(i, j) = sum > 0 ? (transitions(i, j) > 0 ? counts(i, j) / sum : 0) : transitions(i, j);
  }
  if (const double of_counts = f.value(tried); of_counts > best) take_trial(of_counts);
  if (!std::isfinite(best) || !f.linearise(transitions)) return;

  double damping = 0;
  for (int trials = 0; trials < most_trials; ++trials) {
    const double slope = f.target(transitions, damping, tried);
    if (!(slope > smallest_gain * f.total())) return;
    const double value = f.value(tried);
    if (value >= best + 1e-4 * slope) {  // Armijo's rule
      take_trial(value);
      if (!f.linearise(transitions)) return;
      damping = damping > 1e-3 ? damping / 2 : 0;
    } else {
      damping = std::max(4 * damping, 0.1);
    }
  }
}

}  // namespace tally
