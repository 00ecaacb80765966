#include "core/backends/nearest.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "core/backends/vector_targets.hpp"
// Highway compiles what lies between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE once per instruction set,
// by including this file again.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/backends/nearest.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "core/backends/vectors-inl.hpp"

#ifndef TALLY_NEAREST_TABLE
#define TALLY_NEAREST_TABLE
namespace tally::cpu {

// The kernels of one instruction set.
template <class Real>
struct NearestTable {
  double (*nearest_rows)(MatrixView<const Real>, const Centres<Real>&, const RowTerms&, std::int32_t*,
                         const RememberedRows&);
  void (*add_rows_by_label)(MatrixView<const Real>, const std::int32_t*, const double*, MatrixView<const double>,
                            MatrixView<double>);
};

}  // namespace tally::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace tally::cpu {
namespace HWY_NAMESPACE {

// As many rows and vectors of columns are scored at once as keep a multiply-add unit busy and fit the registers.
constexpr Index group_rows = 6;
#if HWY_ARCH_X86 && HWY_MAX_BYTES < 64
constexpr int strip_vectors = 2;  // 16 registers
#else
constexpr int strip_vectors = 4;  // 32
#endif
constexpr Index slice_rows = 192;
// Panels that stay in the cache of a core while the rows of a slice pass by.
constexpr Index chunk_bytes = Index{1} << 18;

// Scores of a group of rows for `vectors` vectors of columns, each the sum over dimensions in their order.
template <int vectors, class D, class Real>
HWY_INLINE void score_strip(D d, const Real* const* x, Index dims, const Real* strip, Real* scores) {
  const Index n = lanes_of(d);
  hn::Vec<D> sums[group_rows][vectors], centres[vectors];
  for (int v = 0; v < vectors; ++v) {
    centres[v] = hn::LoadU(d, strip + v * n);
    for (Index r = 0; r < group_rows; ++r) sums[r][v] = centres[v];
  }
  for (Index j = 0; j < dims; ++j) {
    strip += panel_width;
    for (int v = 0; v < vectors; ++v) centres[v] = hn::LoadU(d, strip + v * n);
    for (Index r = 0; r < group_rows; ++r) {
      const auto value = hn::Set(d, x[r][j]);
      for (int v = 0; v < vectors; ++v) sums[r][v] = hn::MulAdd(value, centres[v], sums[r][v]);
    }
  }
  for (Index r = 0; r < group_rows; ++r)
    for (int v = 0; v < vectors; ++v) hn::Store(sums[r][v], d, scores + r * panel_width + v * n);
}

// Scores of a group of rows for the first `columns` of a panel, and for those that fill up a vector.
template <int vectors = strip_vectors, class D, class Real>
HWY_INLINE void score_panel(D d, const Real* const* x, Index dims, const Real* panel, Index columns, Real* scores) {
  const Index width = vectors * lanes_of(d);
  Index first = 0;
  for (; columns - first > width / 2 || (vectors == 1 && first < columns); first += width)
    score_strip<vectors>(d, x, dims, panel + first, scores + first);
  if constexpr (vectors > 1)
    if (first < columns) score_panel<vectors / 2>(d, x, dims, panel + first, columns - first, scores + first);
}

// How far rounding can move a score x.c - |c|^2/2. With u the unit roundoff of Real, C the largest |c| and
// M = |x| C + C^2/2:
// - the sum of minus the half norm and D products, in any order, is off by at most gamma_D M, gamma_n = n u / (1 - n u)
//   (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1) with fused multiply-adds, and by
//   gamma_(D+1) M without;
// - where Real is float it read centres and half norms rounded to float: off by another u M;
// - the half norm carries gamma_D of its own sum in double: negligible against that in float, D u C^2/2 in double.
// Half norms weigh only C^2/2 <= M, so to first order in u that is less than (2 D + 2) u M, and less than (D + 2) u M in
// float. The bound below, (D + 4) 2u M, leaves room for the terms of higher order (D u < 0.1 is taken for granted), for
// the computed norms and for rounding the threshold; the second term covers what underflows. Centres whose scores lie
// within twice the bound of the best may be nearest.
template <class Real>
HWY_INLINE double score_error(Index dims, double magnitude) {
  using Limits = std::numeric_limits<Real>;
  return static_cast<double>(dims + 4) * (Limits::epsilon() * magnitude + Limits::min());
}

template <class Real>
struct SquaredDifferences {
  const Real* x;
  const double* centre;
  HWY_INLINE DoubleVector add_to(DoubleVector sum, Index j, Index count) const {
    const DoubleLanes d;
    const auto v = hn::Sub(load_as_double(d, x + j, count), load_part(d, centre + j, count));
    return hn::MulAdd(v, v, sum);
  }
};

// More than rounding moves a squared distance or a sum of squares in double by, relative to it: with u = 2^-53, gamma_D
// of the sum and 3 u of its terms, while D < 2^20.
constexpr double distance_slack = 0x1p-30;

template <class Real>
HWY_INLINE double squared_distance(const Real* x, const MatrixView<const double>& exact, Index k) {
  return sum_in_double(DoubleLanes(), exact.cols, SquaredDifferences<Real>{x, exact.row(k)});
}

// One row on its way to its nearest centre.
template <class Real>
struct Search {
  double margin;  // below the best score; NaN, which no score reaches, where something may have overflowed
  Real best, second;  // scores; `second` only where it is asked for
  Index label;
  double distance;
  double squared_norm;  // of the row

  HWY_INLINE void begin(const Real* x, const Centres<Real>& centres) {
    const Index dims = centres.exact.cols;
    squared_norm = sum_in_double(DoubleLanes(), dims, Squares<Real>{x});
    const double norm = std::sqrt(squared_norm);
    const double largest = *centres.largest_norm;
    const double magnitude = norm * largest + 0.5 * largest * largest;
    const bool bounded = magnitude < 0.125 * std::numeric_limits<Real>::max();
    margin = bounded ? 2.0 * score_error<Real>(dims, magnitude) : std::numeric_limits<double>::quiet_NaN();
    best = second = -std::numeric_limits<Real>::infinity();
    label = -1;
    distance = 0;
  }

  HWY_INLINE void try_centre(const Real* x, const MatrixView<const double>& exact, Index k) {
    const double candidate = squared_distance(x, exact, k);
    if (label < 0 || candidate < distance) {
      label = k;
      distance = candidate;
    }
  }

  // Tries every centre of a panel whose score comes near enough to the best so far, lowest index first.
  template <bool asks_second>
  HWY_INLINE void try_panel(const Real* x, const MatrixView<const double>& exact, Index first, Index columns,
                            const Real* scores) {
    const hn::ScalableTag<Real> d;
    auto best_lanes = hn::Load(d, scores);
    if constexpr (asks_second) {
      const auto none = hn::Set(d, -std::numeric_limits<Real>::infinity());
      auto second_lanes = none;
      for (Index j = lanes_of(d); j < columns; j += lanes_of(d)) {
        const auto next = hn::Load(d, scores + j);
        second_lanes = hn::Max(second_lanes, hn::Min(best_lanes, next));
        best_lanes = hn::Max(best_lanes, next);
      }
      const Real top = hn::GetLane(hn::MaxOfLanes(d, best_lanes));
      const auto is_top = hn::Eq(best_lanes, hn::Set(d, top));
      const Real next = hn::CountTrue(d, is_top) > 1
                            ? top
                            : hn::GetLane(hn::MaxOfLanes(d, hn::Max(second_lanes, hn::IfThenElse(is_top, none, best_lanes))));
      second = std::max({second, next, std::min(best, top)});
      best = std::max(best, top);
    } else {
      for (Index j = lanes_of(d); j < columns; j += lanes_of(d)) best_lanes = hn::Max(best_lanes, hn::Load(d, scores + j));
      best = std::max(best, hn::GetLane(hn::MaxOfLanes(d, best_lanes)));
    }
    const auto threshold = hn::Set(d, static_cast<Real>(static_cast<double>(best) - margin));
    std::uint64_t near = 0;
    for (Index j = 0; j < columns; j += lanes_of(d)) {
      std::uint64_t bits = 0;
      hn::StoreMaskBits(d, hn::Ge(hn::Load(d, scores + j), threshold), reinterpret_cast<std::uint8_t*>(&bits));
      near |= bits << j;
    }
    for (; near != 0; near &= near - 1) try_centre(x, exact, first + static_cast<Index>(hwy::Num0BitsBelowLS1Bit_Nonzero64(near)));
  }

  HWY_INLINE void try_all(const Real* x, const MatrixView<const double>& exact) {
    for (Index k = 0; k < exact.rows; ++k) try_centre(x, exact, k);
  }

  // How far all centres but the nearest are away at least: |x - c|^2 = |x|^2 - 2 (x.c - |c|^2/2). The nearest scores best, or
  // it scores no more than the second and the best-scoring centre is no nearer.
  HWY_INLINE double others() const {
    const double score = static_cast<double>(second) + 0.5 * margin;
    const double squared = squared_norm - 2 * score - distance_slack * (squared_norm + 2 * std::abs(score));
    return squared > 0 ? std::sqrt(squared) : 0.0;
  }
};

// Whether no other centre can be nearer than the row's of before, whose squared distance is then written: the search would
// find the same. `others` and what centres moved are at least right to distance_slack.
template <class Real>
HWY_INLINE bool is_settled(const Real* x, const MatrixView<const double>& exact, const RememberedRow& row,
                           const double* moved, double& distance) {
  if (row.label < 0) return false;
  const double others = static_cast<double>(row.others) - moved[row.label];
  if (!(others > 0)) return false;
  distance = squared_distance(x, exact, row.label);
  return distance < others * others * (1 - distance_slack);
}

// Up to slice_rows rows.
template <bool asks_second, class Real>
void search_slice(const Real* const* x, Index count, const Centres<Real>& centres, Search<Real>* searches) {
  const hn::ScalableTag<Real> d;
  const Index K = centres.exact.rows, dims = centres.exact.cols;
  const Index panel_size = panel_width * (1 + dims);
  const Index chunk =
      panel_width * std::max<Index>(1, chunk_bytes / (panel_size * static_cast<Index>(sizeof(Real))));
  HWY_ALIGN Real scores[group_rows * panel_width];
  for (Index i = 0; i < count; ++i) searches[i].begin(x[i], centres);
  for (Index chunk_first = 0; chunk_first < K; chunk_first += chunk) {
    for (Index i = 0; i < count; i += group_rows) {
      const Real* rows[group_rows];  // those beyond the last repeat it
      for (Index r = 0; r < group_rows; ++r) rows[r] = x[std::min(i + r, count - 1)];
      for (Index first = chunk_first; first < std::min(chunk_first + chunk, K); first += panel_width) {
        const Index columns = std::min(panel_width, K - first);
        score_panel(d, rows, dims, centres.panels + first / panel_width * panel_size, columns, scores);
        for (Index r = 0; r < std::min(group_rows, count - i); ++r)
          searches[i + r].template try_panel<asks_second>(rows[r], centres.exact, first, columns, scores + r * panel_width);
      }
    }
  }
}

// A float that is less by more than rounding took from the value.
HWY_INLINE float float_below(double value) {
  const double less = std::min<double>(value * (1 - 0x1p-22), std::numeric_limits<float>::max());
  return less < std::numeric_limits<float>::min() ? 0.0f : static_cast<float>(less);
}

// The distance to the nearest centre of each row of a slice.
template <bool remembers, class Real>
void find_nearest(MatrixView<const Real> x, const Centres<Real>& centres, std::int32_t* labels, double* distances,
                  RememberedRow* rows, const double* moved) {
  Search<Real> searches[slice_rows];
  const Real* wanted[slice_rows];
  Index places[slice_rows], count = 0;
  for (Index i = 0; i < x.rows; ++i) {
    if constexpr (remembers) {
      labels[i] = rows[i].label;
      if (is_settled(x.row(i), centres.exact, rows[i], moved, distances[i])) continue;
    }
    wanted[count] = x.row(i);
    places[count++] = i;
  }
  if (count == 0) return;
  search_slice<remembers>(wanted, count, centres, searches);
  for (Index j = 0; j < count; ++j) {
    Search<Real>& search = searches[j];
    const Index i = places[j];
    if (search.label < 0) search.try_all(wanted[j], centres.exact);
    labels[i] = static_cast<std::int32_t>(search.label);
    distances[i] = search.distance;
    if constexpr (remembers) rows[i] = {labels[i], float_below(search.others() + moved[search.label])};
  }
}

template <class Real>
double nearest_rows(MatrixView<const Real> x, const Centres<Real>& centres, const RowTerms& terms, std::int32_t* labels,
                    const RememberedRows& remembered) {
  double distances[slice_rows];
  double total = 0;
  for (Index first = 0; first < x.rows; first += slice_rows) {
    const MatrixView<const Real> slice(x.row(first), std::min(slice_rows, x.rows - first), x.cols, x.stride);
    if (remembered.rows)
      find_nearest<true>(slice, centres, labels + first, distances, remembered.rows + first, remembered.moved);
    else
      find_nearest<false>(slice, centres, labels + first, distances, nullptr, nullptr);
    for (Index i = 0; i < slice.rows; ++i) {
      if (terms.objective) terms.objective[first + i] = distances[i];
      total += terms.weight(first + i) * distances[i];
    }
  }
  return total;
}

template <class Real>
void add_rows_by_label(MatrixView<const Real> x, const std::int32_t* labels, const double* weights,
                       MatrixView<const double> origins, MatrixView<double> sums) {
  const DoubleLanes d;
  for (Index i = 0; i < x.rows; ++i) {
    const Real* from = x.row(i);
    const double* origin = origins.row(labels[i]);
    double* to = sums.row(labels[i]);
    const double weight = weights ? weights[i] : 1.0;
    const auto factor = hn::Set(d, weight);
    *to++ += weight;
    for (Index j = 0; j < x.cols; j += lanes_of(d)) {
      const Index count = x.cols - j;
      const auto difference = hn::Sub(load_as_double(d, from + j, count), load_part(d, origin + j, count));
      store_part(d, hn::MulAdd(factor, difference, load_part(d, to + j, count)), to + j, count);
    }
  }
}

template <class Real>
const NearestTable<Real>* nearest_kernels() {
  static constexpr NearestTable<Real> table{nearest_rows<Real>, add_rows_by_label<Real>};
  return &table;
}

const NearestTable<float>* float_nearest() {
  return nearest_kernels<float>();
}
const NearestTable<double>* double_nearest() {
  return nearest_kernels<double>();
}

}  // namespace HWY_NAMESPACE
}  // namespace tally::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tally::cpu {

HWY_EXPORT(float_nearest);
HWY_EXPORT(double_nearest);

void write_panels(MatrixView<const double> centres, const double* half_norms, double* out) {
  const Index K = centres.rows, D = centres.cols;
  for (Index first = 0; first < K; first += panel_width) {
    for (Index d = -1; d < D; ++d)
      for (Index k = first; k < first + panel_width; ++k) {
        const bool real = k < K;
        if (d < 0)
          *out++ = real ? -half_norms[k] : -std::numeric_limits<double>::infinity();
        else
          *out++ = real ? centres(k, d) : 0.0;
      }
  }
}

void add_moves(MatrixView<const double> before, MatrixView<const double> after, double* moved) {
  // The largest move of all centres but the k-th is the largest of all, or the second where that is k's own.
  double largest = 0, second = 0;
  Index of_largest = -1;
  for (Index k = 0; k < before.rows; ++k) {
    double squared = 0;
    for (Index d = 0; d < before.cols; ++d) squared += (after(k, d) - before(k, d)) * (after(k, d) - before(k, d));
    const double move = std::sqrt(squared) * (1 + 0x1p-30);  // at least, with what rounding takes away
    if (move > largest || of_largest < 0) {
      second = largest;
      largest = move;
      of_largest = k;
    } else if (!(move <= second)) {
      second = move;
    }
  }
  for (Index k = 0; k < before.rows; ++k) moved[k] += k == of_largest ? second : largest;
}

template <class Real>
const NearestTable<Real>& nearest_of_processor() {
  if constexpr (std::is_same_v<Real, float>) {
    return *HWY_DYNAMIC_DISPATCH(float_nearest)();
  } else {
    return *HWY_DYNAMIC_DISPATCH(double_nearest)();
  }
}

template <class Real>
double nearest_rows(MatrixView<const Real> x, const Centres<Real>& centres, const RowTerms& terms, std::int32_t* labels,
                    const RememberedRows& remembered) {
  return nearest_of_processor<Real>().nearest_rows(x, centres, terms, labels, remembered);
}

template <class Real>
void add_rows_by_label(MatrixView<const Real> x, const std::int32_t* labels, const double* weights,
                       MatrixView<const double> origins, MatrixView<double> sums) {
  nearest_of_processor<Real>().add_rows_by_label(x, labels, weights, origins, sums);
}

#define TALLY_INSTANTIATE(Real)                                                                                     \
  template double nearest_rows(MatrixView<const Real>, const Centres<Real>&, const RowTerms&, std::int32_t*,        \
                               const RememberedRows&);                                                              \
  template void add_rows_by_label(MatrixView<const Real>, const std::int32_t*, const double*,                       \
                                  MatrixView<const double>, MatrixView<double>);
TALLY_INSTANTIATE(float)
TALLY_INSTANTIATE(double)
#undef TALLY_INSTANTIATE

}  // namespace tally::cpu
#endif
