#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

// Code that a GPU runs too is marked with it; for a host compiler it is nothing.
#if defined(__CUDACC__)
#define TALLY_HD __host__ __device__
#else
#define TALLY_HD
#endif

namespace tally {

// Rows, columns and elements are counted in 64 bits everywhere.
using Index = std::int64_t;

// A row-major matrix that somebody else owns; `stride` elements lie between the starts of two rows.
template <class T>
struct MatrixView {
  T* data = nullptr;
  Index rows = 0;
  Index cols = 0;
  Index stride = 0;

  constexpr MatrixView() = default;
  TALLY_HD constexpr MatrixView(T* first, Index row_count, Index col_count)
      : data(first), rows(row_count), cols(col_count), stride(col_count) {}
  TALLY_HD constexpr MatrixView(T* first, Index row_count, Index col_count, Index row_stride)
      : data(first), rows(row_count), cols(col_count), stride(row_stride) {}
  // A view of mutable elements is also a view of constant ones.
  template <class U, class = std::enable_if_t<std::is_same_v<const U, T>>>
  TALLY_HD constexpr MatrixView(const MatrixView<U>& other)
      : data(other.data), rows(other.rows), cols(other.cols), stride(other.stride) {}

  TALLY_HD constexpr T* row(Index i) const { return data + i * stride; }
  TALLY_HD constexpr T& operator()(Index i, Index j) const { return data[i * stride + j]; }
};

}  // namespace tally
