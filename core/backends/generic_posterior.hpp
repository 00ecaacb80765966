#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/backends/cpu_kernels.hpp"
#include "core/backends/groups.hpp"
#include "core/view.hpp"

// The posterior kernels of cpu_kernels.hpp as group kernels (groups.hpp): `lanes` threads share a row, so that neighbours
// read neighbours.
namespace tally::generic {

template <class Real>
TALLY_HD bool is_nan(Real value) {
  return value != value;
}

// A row of weight zero adds nothing even where it is impossible (0 * -inf would be NaN).
TALLY_HD inline double weighted(double weight, double objective) {
  const bool impossible = objective == -std::numeric_limits<double>::infinity();
  return weight == 0.0 && impossible ? 0.0 : weight * objective;
}

// Adds the row's offset, hands the objective out where it is wanted, and returns the row's share of the sum.
TALLY_HD inline double finish_row(const cpu::RowTerms& terms, Index row, double objective) {
  if (terms.offsets) objective += terms.offsets[row];
  if (terms.objective) terms.objective[row] = objective;
  return weighted(terms.weight(row), objective);
}

// One lane's share of a row: every lanes-th value, the first few of them kept, the others read where they lie.
template <class Real, int lanes>
struct RowShare {
  static constexpr int kept_count = 4;
  Real kept[kept_count];

  TALLY_HD void load(const Real* row, Index K, int lane) {
    TALLY_UNROLL
    for (int j = 0; j < kept_count; ++j)
      if (lane + j * lanes < K) kept[j] = row[lane + j * lanes];
  }
  TALLY_HD void store(Real* row, Index K, int lane) const {
    TALLY_UNROLL
    for (int j = 0; j < kept_count; ++j)
      if (lane + j * lanes < K) row[lane + j * lanes] = kept[j];
  }
  // f(value) for each, in order; f may change it.
  template <class F>
  TALLY_HD void each(Real* row, Index K, int lane, const F& f) {
    TALLY_UNROLL
    for (int j = 0; j < kept_count; ++j)
      if (lane + j * lanes < K) f(kept[j]);
    for (Index k = lane + kept_count * lanes; k < K; k += lanes) f(row[k]);
  }
};

// NaN where one of the two is.
struct LargerOrNan {
  template <class Real>
  TALLY_HD Real operator()(Real a, Real b) const {
    if (is_nan(a) || is_nan(b)) return is_nan(a) ? a : b;
    return a < b ? b : a;
  }
};

template <class Real, int lanes>
struct SoftmaxRows {
  static constexpr int threads = 128, groups_at_once = 8;
  static constexpr int rows = threads / lanes;  // of a group
  struct Shared {};
  struct Own {
    RowShare<Real, lanes> share;
    Real largest;
    double sum;
  };

  MatrixView<Real> logits;
  cpu::RowTerms terms;
  double* row_sums;  // (rows): receives the row's share of the objective

  Index groups() const { return (logits.rows + rows - 1) / rows; }
  template <class Group>
  TALLY_HD void operator()(Index index, Group& group, Shared&) const {
    const Index first_row = index * rows, K = logits.cols;
    group.each([&](int thread, Own& own) {
      const Index i = first_row + thread / lanes;
      own.largest = -infinity;
      if (i >= logits.rows) return;
      own.share.load(logits.row(i), K, thread % lanes);
      own.share.each(logits.row(i), K, thread % lanes,
                     [&](Real& value) { own.largest = LargerOrNan{}(own.largest, value); });
    });
    group.template combine<lanes>([](Own& own) -> Real& { return own.largest; }, LargerOrNan{});
    group.each([&](int thread, Own& own) {
      const Index i = first_row + thread / lanes;
      own.sum = 0;
      if (i >= logits.rows) return;
      const Real largest = own.largest;
      const bool impossible = largest == -infinity;
      own.share.each(logits.row(i), K, thread % lanes, [&](Real& value) {
        const Real difference = value - largest;
        value = impossible || difference < exp_limit ? Real(0) : std::exp(difference);
        own.sum += static_cast<double>(value);
      });
    });
    group.template combine<lanes>([](Own& own) -> double& { return own.sum; }, Plus{});
    group.each([&](int thread, Own& own) {
      const Index i = first_row + thread / lanes;
      if (i >= logits.rows) return;
      const bool impossible = own.largest == -infinity;
      const Real scale = impossible ? Real(0) : static_cast<Real>(terms.weight(i) / own.sum);
      own.share.each(logits.row(i), K, thread % lanes, [&](Real& value) { value *= scale; });
      own.share.store(logits.row(i), K, thread % lanes);
      if (thread % lanes == 0)
        row_sums[i] = finish_row(terms, i, static_cast<double>(own.largest) + (impossible ? 0.0 : std::log(own.sum)));
    });
  }

 private:
  static constexpr Real infinity = std::numeric_limits<Real>::infinity();
  // ln 2^-1008 or ln 2^-112: an exponential below counts as 0, so that no quotient of two is subnormal.
  static constexpr Real exp_limit = sizeof(Real) == 8 ? Real(-698.69) : Real(-77.63);
};

// The largest value of a row and the first column that holds it; NaN where one is, in column 0.
template <class Real>
struct Peak {
  Real value;
  std::int32_t label;
};
struct HigherPeak {
  template <class Real>
  TALLY_HD Peak<Real> operator()(const Peak<Real>& a, const Peak<Real>& b) const {
    if (is_nan(a.value) || is_nan(b.value)) return {is_nan(a.value) ? a.value : b.value, 0};
    if (a.value == b.value) return a.label < b.label ? a : b;
    return a.value > b.value ? a : b;
  }
};

template <class Real, int lanes>
struct ArgmaxRows {
  static constexpr int threads = 128, groups_at_once = 8;
  static constexpr int rows = threads / lanes;  // of a group
  struct Shared {};
  struct Own {
    Peak<Real> peak;
  };

  MatrixView<Real> logits;
  cpu::RowTerms terms;
  std::int32_t* labels;  // (rows) or null
  double* row_sums;      // (rows)

  Index groups() const { return (logits.rows + rows - 1) / rows; }
  template <class Group>
  TALLY_HD void operator()(Index index, Group& group, Shared&) const {
    const Index first_row = index * rows, K = logits.cols;
    group.each([&](int thread, Own& own) {
      const Index i = first_row + thread / lanes;
      own.peak = {-std::numeric_limits<Real>::infinity(), 0};
      if (i >= logits.rows) return;
      for (Index k = thread % lanes; k < K; k += lanes)
        own.peak = HigherPeak{}(own.peak, {logits(i, k), static_cast<std::int32_t>(k)});
    });
    group.template combine<lanes>([](Own& own) -> Peak<Real>& { return own.peak; }, HigherPeak{});
    group.each([&](int thread, Own& own) {
      const Index i = first_row + thread / lanes;
      if (i >= logits.rows) return;
      const Real largest = own.peak.value, elsewhere = is_nan(largest) ? largest : Real(0);
      const Real there = is_nan(largest) ? largest : static_cast<Real>(terms.weight(i));
      for (Index k = thread % lanes; k < K; k += lanes) logits(i, k) = k == own.peak.label ? there : elsewhere;
      if (thread % lanes != 0) return;
      if (labels) labels[i] = own.peak.label;
      row_sums[i] = finish_row(terms, i, static_cast<double>(largest));
    });
  }
};

enum class SumTo { replace, add };

// to[i] becomes, or gains, the sum of the i-th run of at most `run` values; the order of the additions depends on their
// number alone. Two of them sum any number of values.
struct SumRuns {
  static constexpr int threads = 256, groups_at_once = 4;
  struct Shared {
    double sums[threads / 32];
  };
  struct Own {
    double sum;
  };

  const double* values;
  Index value_count;
  Index run;
  SumTo how;
  double* to;

  Index groups() const { return run > 0 ? (value_count + run - 1) / run : 0; }
  template <class Group>
  TALLY_HD void operator()(Index index, Group& group, Shared& shared) const {
    const Index first = index * run, last = first + run < value_count ? first + run : value_count;
    group.each([&](int thread, Own& own) {
      own.sum = 0;
      for (Index i = first + thread; i < last; i += threads) own.sum += values[i];
    });
    group.template combine<32>([](Own& own) -> double& { return own.sum; }, Plus{});
    group.each([&](int thread, Own& own) {
      if (thread % 32 == 0) shared.sums[thread / 32] = own.sum;
    });
    group.each([&](int thread, Own&) {
      if (thread != 0) return;
      double sum = 0;
      for (const double part : shared.sums) sum += part;
      to[index] = how == SumTo::add ? to[index] + sum : sum;
    });
  }
};

}  // namespace tally::generic
