#include "core/backends/products.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "core/backends/vector_targets.hpp"
// Highway compiles what lies between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE once per instruction set,
// by including this file again.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/backends/products.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "core/backends/vectors-inl.hpp"

#ifndef TALLY_PRODUCT_TABLE
#define TALLY_PRODUCT_TABLE
namespace tally::cpu {

// The kernels of one instruction set.
template <class Real>
struct ProductTable {
  void (*multiply_nt)(MatrixView<const Real>, MatrixView<const Real>, MatrixView<Real>);
  void (*add_multiply_nt)(MatrixView<const Real>, MatrixView<const Real>, MatrixView<Real>);
  void (*add_multiply_tn)(MatrixView<const Real>, MatrixView<const Real>, MatrixView<double>);
};

}  // namespace tally::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace tally::cpu {
namespace HWY_NAMESPACE {

// As many rows and vectors of columns are summed at once as keep the multiply-add units busy and fit the registers.
#if HWY_ARCH_X86 && HWY_MAX_BYTES < 64
constexpr int most_vectors = 2;  // 16 registers
#else
constexpr int most_vectors = 4;  // 32
#endif
// What is summed while a panel of columns stays in the nearest cache: 32 KiB of doubles with vectors of 512 bits.
constexpr Index panel_depth = 128;
template <class Real>
constexpr Index largest_panel =
    std::max(panel_depth, summed_rows) * most_vectors * static_cast<Index>(hn::MaxLanes(hn::ScalableTag<Real>()));

template <class D, int rows, int vectors>
using Sums = hn::Vec<D>[rows][vectors];

template <class D, int rows, int vectors>
HWY_INLINE void clear(D d, hn::Vec<D> (&sums)[rows][vectors]) {
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) sums[r][v] = hn::Zero(d);
}

// Columns that were copied together, aligned and filled up with zeros.
template <int vectors, class Real>
struct Panel {
  const Real* first;
  template <class D>
  HWY_INLINE hn::Vec<D> load(D d, Index j, int v) const {
    return hn::Load(d, first + (j * vectors + v) * lanes_of(d));
  }
};

// Columns where they are.
template <int vectors, class Real>
struct Strip {
  MatrixView<const Real> columns;
  template <class D>
  HWY_INLINE hn::Vec<D> load(D d, Index j, int v) const {
    const Real* from = columns.row(j) + v * lanes_of(d);
    return v + 1 < vectors ? hn::LoadU(d, from) : load_part(d, from, columns.cols - v * lanes_of(d));
  }
};

// sums[r][.] += sum_j x[r][j step] columns[j], j < depth.
template <int rows, int vectors, class D, class Real, class Columns>
HWY_INLINE void add_products(D d, const Real* const* x, Index step, Index depth, const Columns& from,
                             Sums<D, rows, vectors>& sums) {
  Sums<D, rows, vectors> kept;  // in registers: what is in memory GCC stores at every step
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) kept[r][v] = sums[r][v];
  for (Index j = 0, at = 0; j < depth; ++j, at += step) {
    hn::Vec<D> columns[vectors];
    for (int v = 0; v < vectors; ++v) columns[v] = from.load(d, j, v);
    for (int r = 0; r < rows; ++r) {
      const auto value = hn::Set(d, x[r][at]);
      for (int v = 0; v < vectors; ++v) kept[r][v] = hn::MulAdd(value, columns[v], kept[r][v]);
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) sums[r][v] = kept[r][v];
}

// Calls work(first, columns, vectors) for strips of `cols` columns, as equal as can be, `vectors` a constant of the type.
template <class D, class Work>
HWY_INLINE void for_each_strip(D d, Index cols, const Work& work) {
  const Index n = lanes_of(d);
  Index left = (cols + n - 1) / n;
  Index strips = (left + most_vectors - 1) / most_vectors;
  for (Index first = 0; strips > 0; --strips) {
    const Index vectors = (left + strips - 1) / strips;
    const Index columns = std::min(vectors * n, cols - first);
    if (vectors == 1) work(first, columns, std::integral_constant<int, 1>());
    if (vectors == 2) work(first, columns, std::integral_constant<int, 2>());
    if constexpr (most_vectors > 2) {
      if (vectors == 3) work(first, columns, std::integral_constant<int, 3>());
      if (vectors == 4) work(first, columns, std::integral_constant<int, 4>());
    }
    first += columns;
    left -= vectors;
  }
}

// to[j width + c] = rows[c][j], j < depth, in squares, so that what is read is contiguous, too.
HWY_INLINE void transpose(MatrixView<const double> rows, Index depth, double* to, Index width) {
  Index c = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::Full128<double> d;
  for (; c + 2 <= rows.rows; c += 2) {
    const double *even = rows.row(c), *odd = rows.row(c + 1);
    Index j = 0;
    for (; j + 2 <= depth; j += 2) {
      const auto a = hn::LoadU(d, even + j), b = hn::LoadU(d, odd + j);
      hn::StoreU(hn::InterleaveLower(d, a, b), d, to + j * width + c);
      hn::StoreU(hn::InterleaveUpper(d, a, b), d, to + (j + 1) * width + c);
    }
    for (; j < depth; ++j) {
      to[j * width + c] = even[j];
      to[j * width + c + 1] = odd[j];
    }
  }
#endif
  for (; c < rows.rows; ++c)
    for (Index j = 0; j < depth; ++j) to[j * width + c] = rows(c, j);
}

HWY_INLINE void transpose(MatrixView<const float> rows, Index depth, float* to, Index width) {
  Index c = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::Full128<float> d;
  const hn::Full128<double> pairs;
  const auto lower = [&](auto a, auto b) HWY_ATTR {
    return hn::BitCast(d, hn::InterleaveLower(pairs, hn::BitCast(pairs, a), hn::BitCast(pairs, b)));
  };
  const auto upper = [&](auto a, auto b) HWY_ATTR {
    return hn::BitCast(d, hn::InterleaveUpper(pairs, hn::BitCast(pairs, a), hn::BitCast(pairs, b)));
  };
  for (; c + 4 <= rows.rows; c += 4) {
    Index j = 0;
    for (; j + 4 <= depth; j += 4) {
      const auto r0 = hn::LoadU(d, rows.row(c) + j), r1 = hn::LoadU(d, rows.row(c + 1) + j);
      const auto r2 = hn::LoadU(d, rows.row(c + 2) + j), r3 = hn::LoadU(d, rows.row(c + 3) + j);
      const auto low01 = hn::InterleaveLower(d, r0, r1), high01 = hn::InterleaveUpper(d, r0, r1);
      const auto low23 = hn::InterleaveLower(d, r2, r3), high23 = hn::InterleaveUpper(d, r2, r3);
      float* at = to + j * width + c;
      hn::StoreU(lower(low01, low23), d, at);
      hn::StoreU(upper(low01, low23), d, at + width);
      hn::StoreU(lower(high01, high23), d, at + 2 * width);
      hn::StoreU(upper(high01, high23), d, at + 3 * width);
    }
    for (; j < depth; ++j)
      for (Index r = 0; r < 4; ++r) to[j * width + c + r] = rows(c + r, j);
  }
#endif
  for (; c < rows.rows; ++c)
    for (Index j = 0; j < depth; ++j) to[j * width + c] = rows(c, j);
}

// The columns of c that a panel makes, for every row.
template <int vectors, class D, class Real>
HWY_INLINE void multiply_strip(D d, MatrixView<const Real> a, Index depth, const Real* panel, bool goes_on, MatrixView<Real> c) {
  constexpr int rows = vectors == 1 ? 8 : 6;
  const Index n = lanes_of(d);
  for (Index i = 0; i < a.rows; i += rows) {
    const int used = static_cast<int>(std::min<Index>(rows, a.rows - i));
    const Real* x[rows];  // those beyond the last repeat it
    for (int r = 0; r < rows; ++r) x[r] = a.row(i + std::min(r, used - 1));
    Sums<D, rows, vectors> sums;
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v)
        sums[r][v] = goes_on ? load_part(d, c.row(i + std::min(r, used - 1)) + v * n, c.cols - v * n) : hn::Zero(d);
    add_products<rows, vectors>(d, x, 1, depth, Panel<vectors, Real>{panel}, sums);
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v)
        if (r < used) store_part(d, sums[r][v], c.row(i + r) + v * n, c.cols - v * n);
  }
}

// As many chains as fill 128 bytes, whatever the width of a vector, and the order in which they are added.
template <class Real>
constexpr int chains = 128 / sizeof(Real);

template <class Real>
HWY_INLINE Real sum_of_chains(Real* values) {
  for (int count = chains<Real> / 2; count > 0; count /= 2)
    for (int i = 0; i < count; ++i) values[i] += values[i + count];
  return values[0];
}

// c = a b' or c += a b' for a single row of b: where the columns of a panel would be one.
template <bool adds, class Real>
void multiply_row(MatrixView<const Real> a, const Real* b, MatrixView<Real> c) {
  constexpr int rows = 4;
  const hn::ScalableTag<Real> d;
  constexpr int vectors = chains<Real> / static_cast<int>(hn::MaxLanes(decltype(d)()));
  const Index n = lanes_of(d);
  for (Index i = 0; i < a.rows; i += rows) {
    const int used = static_cast<int>(std::min<Index>(rows, a.rows - i));
    const Real* x[rows];  // those beyond the last repeat it
    for (int r = 0; r < rows; ++r) x[r] = a.row(i + std::min(r, used - 1));
    HWY_ALIGN Real sums[rows][chains<Real>] = {};
    if constexpr (vectors <= 8) {
      Sums<decltype(d), rows, vectors> kept;
      clear(d, kept);
      Index j = 0;
      for (; j + chains<Real> <= a.cols; j += chains<Real>)
        for (int v = 0; v < vectors; ++v) {
          const auto factors = hn::LoadU(d, b + j + v * n);
          for (int r = 0; r < rows; ++r) kept[r][v] = hn::MulAdd(hn::LoadU(d, x[r] + j + v * n), factors, kept[r][v]);
        }
      for (int v = 0; v < vectors; ++v, j += n) {
        if (j >= a.cols) break;
        const auto factors = load_part(d, b + j, a.cols - j);
        for (int r = 0; r < rows; ++r) kept[r][v] = hn::MulAdd(load_part(d, x[r] + j, a.cols - j), factors, kept[r][v]);
      }
      for (int r = 0; r < rows; ++r)
        for (int v = 0; v < vectors; ++v) hn::Store(kept[r][v], d, sums[r] + v * n);
    } else {
      for (Index j = 0; j < a.cols; ++j)
        for (int r = 0; r < rows; ++r) sums[r][j % chains<Real>] += x[r][j] * b[j];
    }
    for (int r = 0; r < used; ++r) {
      const Real sum = sum_of_chains(sums[r]);
      c(i + r, 0) = adds ? c(i + r, 0) + sum : sum;
    }
  }
}

template <bool adds, class Real>
void multiply_nt(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<Real> c) {
  if (b.rows == 1) return multiply_row<adds>(a, b.data, c);
  const hn::ScalableTag<Real> d;
  HWY_ALIGN Real panel[largest_panel<Real>];
  Index first = 0;
  do {
    const Index depth = std::min(panel_depth, a.cols - first);
    const MatrixView<const Real> part(a.data + first, a.rows, depth, a.stride);
    for_each_strip(d, c.cols, [&](Index column, Index columns, auto vectors) HWY_ATTR {
      const Index width = vectors() * lanes_of(d);
      transpose(MatrixView<const Real>(b.row(column) + first, columns, depth, b.stride), depth, panel, width);
      if (columns < width)
        for (Index j = 0; j < depth; ++j) std::fill_n(panel + j * width + columns, width - columns, Real(0));
      multiply_strip<vectors()>(d, part, depth, panel, adds || first > 0, MatrixView<Real>(c.data + column, c.rows, columns, c.stride));
    });
    first += depth;
  } while (first < a.cols);
}

// to[j] += v of the first `count` lanes, in double.
template <class D>
HWY_INLINE void add_to_doubles(D d, hn::Vec<D> v, double* to, Index count) {
  if constexpr (std::is_same_v<Value<D>, double>) {
    store_part(d, hn::Add(load_part(d, to, count), v), to, count);
  } else {
    const DoubleLanes d_double;
    const Index n = lanes_of(d_double);
    HWY_ALIGN float values[hn::MaxLanes(D())];
    hn::Store(v, d, values);
    for (Index j = 0; j < std::min(count, lanes_of(d)); j += n)
      store_part(d_double, hn::Add(load_part(d_double, to + j, count - j), load_as_double(d_double, values + j, n)), to + j, count - j);
  }
}

// Up to `rows` rows of c, of the columns of a.
template <int rows, int vectors, class D, class Real, class Columns>
HWY_INLINE void add_group(D d, MatrixView<const Real> a, const Columns& columns, MatrixView<double> c) {
  const Index n = lanes_of(d);
  const int used = static_cast<int>(std::min<Index>(rows, c.rows));
  const Real* x[rows];  // those beyond the last repeat it
  for (int r = 0; r < rows; ++r) x[r] = a.data + std::min(r, used - 1);
  Sums<D, rows, vectors> sums;
  clear(d, sums);
  add_products<rows, vectors>(d, x, a.stride, a.rows, columns, sums);
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v)
      if (r < used && c.cols > v * n) add_to_doubles(d, sums[r][v], c.row(r) + v * n, c.cols - v * n);
}

template <class T>
HWY_INLINE MatrixView<T> columns_from(MatrixView<T> a, Index first) {
  return {a.data + first, a.rows, a.cols - first, a.stride};
}
template <class T>
HWY_INLINE MatrixView<T> rows_from(MatrixView<T> a, Index first) {
  return {a.row(first), a.rows - first, a.cols, a.stride};
}

// Rows with so many columns share few places of a cache, from where they are first brought together.
constexpr Index far_apart = 128;

template <int vectors, class D, class Real, class Columns>
HWY_INLINE void add_groups(D d, MatrixView<const Real> a, const Columns& columns, MatrixView<double> c) {
  Index k = 0;
  if (c.rows >= far_apart) {
    Real together[summed_rows * 6];
    for (; c.rows - k >= 6; k += 6) {
      for (Index j = 0; j < a.rows; ++j) std::copy_n(a.row(j) + k, 6, together + j * 6);
      add_group<6, vectors>(d, MatrixView<const Real>(together, a.rows, 6), columns, rows_from(c, k));
    }
  }
  for (; c.rows - k > 4; k += 6) add_group<6, vectors>(d, columns_from(a, k), columns, rows_from(c, k));
  if (c.rows - k > 2)
    add_group<4, vectors>(d, columns_from(a, k), columns, rows_from(c, k));
  else if (c.rows - k > 0)
    add_group<2, vectors>(d, columns_from(a, k), columns, rows_from(c, k));
}

// One or two columns of c, by vectors of columns of a.
template <class D, class Real>
HWY_INLINE void add_last_columns(D d, MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<double> c) {
  const Real* x[2] = {b.data, b.data + b.cols - 1};
  for_each_strip(d, a.cols, [&](Index first, Index columns, auto vectors) HWY_ATTR {
    Sums<D, 2, vectors()> sums;
    clear(d, sums);
    add_products<2, vectors()>(d, x, b.stride, b.rows, Strip<vectors(), Real>{{a.data + first, a.rows, columns, a.stride}}, sums);
    for (Index r = 0; r < b.cols; ++r)
      for (int v = 0; v < vectors(); ++v) {
        HWY_ALIGN Real values[hn::MaxLanes(D())];
        hn::Store(sums[r][v], d, values);
        for (Index k = v * lanes_of(d); k < std::min((v + 1) * lanes_of(d), columns); ++k)
          c(first + k, r) += static_cast<double>(values[k - v * lanes_of(d)]);
      }
  });
}

template <class Real>
void add_multiply_tn(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<double> c) {
  const hn::ScalableTag<Real> d;
  // The 1 before monomials makes a vector of its own where these fill theirs.
  const Index last = c.cols > lanes_of(d) && c.cols % lanes_of(d) <= 2 ? c.cols % lanes_of(d) : 0;
  const Index full = c.cols - last;
  HWY_ALIGN Real panel[largest_panel<Real>];
  for (Index first = 0; first < a.rows; first += summed_rows) {
    const Index depth = std::min(summed_rows, a.rows - first);
    const MatrixView<const Real> part(a.row(first), depth, a.cols, a.stride);
    if (last > 0)
      add_last_columns(d, part, MatrixView<const Real>(b.row(first) + full, depth, last, b.stride),
                       MatrixView<double>(c.data + full, c.rows, last, c.stride));
    for_each_strip(d, full, [&](Index column, Index columns, auto vectors) HWY_ATTR {
      const MatrixView<double> out(c.data + column, c.rows, columns, c.stride);
      const Strip<vectors(), Real> strip{{b.row(first) + column, depth, columns, b.stride}};
      if (c.rows <= 6) return add_groups<vectors()>(d, part, strip, out);
      for (Index j = 0; j < depth; ++j)
        for (int v = 0; v < vectors(); ++v) hn::Store(strip.load(d, j, v), d, panel + (j * vectors() + v) * lanes_of(d));
      add_groups<vectors()>(d, part, Panel<vectors(), Real>{panel}, out);
    });
  }
}

template <class Real>
const ProductTable<Real>* product_kernels() {
  static constexpr ProductTable<Real> table{multiply_nt<false, Real>, multiply_nt<true, Real>, add_multiply_tn<Real>};
  return &table;
}

const ProductTable<float>* float_products() {
  return product_kernels<float>();
}
const ProductTable<double>* double_products() {
  return product_kernels<double>();
}

}  // namespace HWY_NAMESPACE
}  // namespace tally::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tally::cpu {

HWY_EXPORT(float_products);
HWY_EXPORT(double_products);

template <class Real>
const ProductTable<Real>& products_of_processor() {
  if constexpr (std::is_same_v<Real, float>) {
    return *HWY_DYNAMIC_DISPATCH(float_products)();
  } else {
    return *HWY_DYNAMIC_DISPATCH(double_products)();
  }
}

template <class Real>
void multiply_nt(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<Real> c) {
  products_of_processor<Real>().multiply_nt(a, b, c);
}

template <class Real>
void add_multiply_nt(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<Real> c) {
  products_of_processor<Real>().add_multiply_nt(a, b, c);
}

template <class Real>
void add_multiply_tn(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<double> c) {
  products_of_processor<Real>().add_multiply_tn(a, b, c);
}

#define TALLY_INSTANTIATE(Real)                                                                       \
  template void multiply_nt(MatrixView<const Real>, MatrixView<const Real>, MatrixView<Real>);        \
  template void add_multiply_nt(MatrixView<const Real>, MatrixView<const Real>, MatrixView<Real>);    \
  template void add_multiply_tn(MatrixView<const Real>, MatrixView<const Real>, MatrixView<double>);
TALLY_INSTANTIATE(float)
TALLY_INSTANTIATE(double)
#undef TALLY_INSTANTIATE

}  // namespace tally::cpu
#endif
