#pragma once
#include <cstdint>

#include "core/backends/cpu_kernels.hpp"
#include "core/view.hpp"

// The two kernels of hard assignment to points: each row's nearest centre, and the sums of the rows of each centre.
namespace tally::cpu {

// Centres are read in panels of as many columns, one after another. A panel has 1 + D rows: first minus half the
// squared norms of its centres, then their coordinates, a dimension a row. Columns beyond the last centre score -inf.
inline constexpr Index panel_width = 64;
constexpr Index panels_size(Index K, Index D) { return (K + panel_width - 1) / panel_width * panel_width * (1 + D); }
// `out` has panels_size(K, D) elements; half_norms (K) are |c_k|^2 / 2.
void write_panels(MatrixView<const double> centres, const double* half_norms, double* out);

// What a search for the nearest centre reads, in the precision of the rows and exactly.
template <class Real>
struct Centres {
  MatrixView<const double> exact;  // (K, D)
  const double* half_norms;        // (K): |c_k|^2 / 2
  const double* largest_norm;      // one value: max_k |c_k|
  const Real* panels;              // panels_size(K, D)
};

// What a search remembers of a row from pass to pass, so that it need not look at all centres again while they move little
// (Hamerly, "Making k-means even faster", SIAM International Conference on Data Mining, 2010).
struct RememberedRow {
  std::int32_t label = -1;  // none yet
  float others = 0;         // other centres were at least so far away, plus what they had moved by then
};

// Of the rows of a tile.
struct RememberedRows {
  RememberedRow* rows = nullptr;  // (rows), or null: nothing is remembered
  const double* moved = nullptr;  // (K): how far centres other than k have moved at most, all passes together
};

// Adds to `moved` (K) what the centres (K, D) moved from one pass to the next.
void add_moves(MatrixView<const double> before, MatrixView<const double> after, double* moved);

// The nearest centre of each row. Centres whose distance could be the smallest within the rounding error of their score
// x . c - |c|^2 / 2 are recomputed in double from differences, ties go to the lowest index, and the distance reported
// always comes from differences. Writes labels (rows); returns sum_i weight_i |x_i - c_label|^2; terms.objective
// receives the unweighted distances. What is remembered changes neither labels nor distances, not by a bit.
template <class Real>
double nearest_rows(MatrixView<const Real> x, const Centres<Real>& centres, const RowTerms& terms,
                    std::int32_t* labels, const RememberedRows& remembered = {});

// Row k = labels[i] of `sums` (K, 1 + D) gains weight_i [1, x_i - origin_k], in row order; origins is (K, D).
template <class Real>
void add_rows_by_label(MatrixView<const Real> x, const std::int32_t* labels, const double* weights,
                       MatrixView<const double> origins, MatrixView<double> sums);

}  // namespace tally::cpu
