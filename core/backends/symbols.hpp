#pragma once
#include "core/view.hpp"

// Rows of symbols, whole numbers from 0 to S - 1 in each of D columns. Tables have a row for each column and symbol:
// row d S + s.
namespace tally::cpu {

// The symbol that x is; 0 for a number that is none, so that nothing beyond a table is touched.
template <class Real>
TALLY_HD Index symbol_of(Real x, Index count) {
  return x >= 0 && x < static_cast<Real>(count) ? static_cast<Index>(x) : 0;
}

// logits(i, k) = constants_k + sum_d table(d S + x_id, k); `table` is (D S, K), `logits` (rows, K).
template <class Real>
void look_up(MatrixView<const Real> x, const Real* constants, MatrixView<const Real> table, MatrixView<Real> logits);

// Row d S + x_id of `sums` (D S, K) gains row i of `posterior` (rows, K), in row order and in double.
template <class Real>
void add_rows_by_symbol(MatrixView<const Real> x, MatrixView<const Real> posterior, MatrixView<double> sums);

}  // namespace tally::cpu
