#pragma once
#include "core/backends/groups.hpp"
#include "core/backends/symbols.hpp"
#include "core/view.hpp"

// The kernels of symbols.hpp as functors of one index (see generic_kernels.hpp).
namespace tally::generic {

// One call for each logit.
template <class Real>
struct LookUp {
  MatrixView<const Real> x;      // (rows, D)
  const Real* constants;         // (K)
  MatrixView<const Real> table;  // (D S, K)
  MatrixView<Real> logits;       // (rows, K)

  Index count() const { return logits.rows * logits.cols; }
  TALLY_HD void operator()(Index i) const {
    const Index row = i / logits.cols, k = i - row * logits.cols, S = table.rows / x.cols;
    Real sum = constants[k];
    for (Index d = 0; d < x.cols; ++d) sum += table(d * S + cpu::symbol_of(x(row, d), S), k);
    logits(row, k) = sum;
  }
};

// One call for each slice of rows, column and component, which alone writes to the component's sums of that column.
template <class Real>
struct AddBySymbol {
  MatrixView<const Real> x;          // (rows, D)
  MatrixView<const Real> posterior;  // (rows, K)
  Index symbols, slice_rows;
  double* sums;                      // (slices, D, S, K)

  Index slices() const { return (x.rows + slice_rows - 1) / slice_rows; }
  Index count() const { return slices() * x.cols * posterior.cols; }
  TALLY_HD void operator()(Index i) const {
    const Index K = posterior.cols, place = i / K, k = i - place * K;  // place: slice and column
    const Index slice = place / x.cols, d = place - slice * x.cols;
    const Index first = slice * slice_rows, last = first + slice_rows < x.rows ? first + slice_rows : x.rows;
    double* const to = sums + place * symbols * K + k;
    for (Index row = first; row < last; ++row)
      to[cpu::symbol_of(x(row, d), symbols) * K] += static_cast<double>(posterior(row, k));
  }
};

}  // namespace tally::generic
