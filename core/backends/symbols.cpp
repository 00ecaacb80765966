#include "core/backends/symbols.hpp"

#include <limits>
#include <type_traits>

// Highway compiles what lies between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE once per instruction set,
// by including this file again.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/backends/symbols.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "core/backends/vectors-inl.hpp"

#ifndef TALLY_SYMBOLS_TABLE
#define TALLY_SYMBOLS_TABLE
namespace tally::cpu {

// The kernels of one instruction set.
template <class Real>
struct SymbolsTable {
  void (*look_up)(MatrixView<const Real>, const Real*, MatrixView<const Real>, MatrixView<Real>);
  void (*add_rows_by_symbol)(MatrixView<const Real>, MatrixView<const Real>, MatrixView<double>);
};

}  // namespace tally::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace tally::cpu {
namespace HWY_NAMESPACE {

template <class Real>
void look_up(MatrixView<const Real> x, const Real* constants, MatrixView<const Real> table, MatrixView<Real> logits) {
  const hn::ScalableTag<Real> d;
  const Index K = logits.cols, S = table.rows / x.cols;
  for (Index i = 0; i < x.rows; ++i) {
    Real* const out = logits.row(i);
    const Real* before = constants;
    for (Index column = 0; column < x.cols; ++column, before = out) {
      const Real* const entry = table.row(column * S + symbol_of(x(i, column), S));
      for (Index k = 0; k < K; k += lanes_of(d))
        store_part(d, hn::Add(load_part(d, before + k, K - k), load_part(d, entry + k, K - k)), out + k, K - k);
    }
  }
}

template <class Real>
void add_rows_by_symbol(MatrixView<const Real> x, MatrixView<const Real> posterior, MatrixView<double> sums) {
  const DoubleLanes d;
  const Index K = sums.cols, S = sums.rows / x.cols;
  for (Index i = 0; i < x.rows; ++i) {
    const Real* const from = posterior.row(i);
    for (Index column = 0; column < x.cols; ++column) {
      double* const to = sums.row(column * S + symbol_of(x(i, column), S));
      for (Index k = 0; k < K; k += lanes_of(d))
        store_part(d, hn::Add(load_part(d, to + k, K - k), load_as_double(d, from + k, K - k)), to + k, K - k);
    }
  }
}

template <class Real>
const SymbolsTable<Real>* symbol_kernels() {
  static constexpr SymbolsTable<Real> table{look_up<Real>, add_rows_by_symbol<Real>};
  return &table;
}

const SymbolsTable<float>* float_symbol_kernels() {
  return symbol_kernels<float>();
}
const SymbolsTable<double>* double_symbol_kernels() {
  return symbol_kernels<double>();
}

}  // namespace HWY_NAMESPACE
}  // namespace tally::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tally::cpu {

HWY_EXPORT(float_symbol_kernels);
HWY_EXPORT(double_symbol_kernels);

template <class Real>
const SymbolsTable<Real>& symbol_kernels_of_processor() {
  if constexpr (std::is_same_v<Real, float>) {
    return *HWY_DYNAMIC_DISPATCH(float_symbol_kernels)();
  } else {
    return *HWY_DYNAMIC_DISPATCH(double_symbol_kernels)();
  }
}

template <class Real>
void look_up(MatrixView<const Real> x, const Real* constants, MatrixView<const Real> table, MatrixView<Real> logits) {
  symbol_kernels_of_processor<Real>().look_up(x, constants, table, logits);
}

template <class Real>
void add_rows_by_symbol(MatrixView<const Real> x, MatrixView<const Real> posterior, MatrixView<double> sums) {
  symbol_kernels_of_processor<Real>().add_rows_by_symbol(x, posterior, sums);
}

#define TALLY_INSTANTIATE(Real)                                                                           \
  template void look_up(MatrixView<const Real>, const Real*, MatrixView<const Real>, MatrixView<Real>);   \
  template void add_rows_by_symbol(MatrixView<const Real>, MatrixView<const Real>, MatrixView<double>);
TALLY_INSTANTIATE(float)
TALLY_INSTANTIATE(double)
#undef TALLY_INSTANTIATE

}  // namespace tally::cpu
#endif
