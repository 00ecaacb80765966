#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "core/backends/generic_primitives.hpp"
#include "core/view.hpp"

namespace tally {

// Host memory with the interface of a device's.
template <class T>
class HostMemory {
 public:
  void reserve(Index count) {
    if (count > static_cast<Index>(values_.size())) values_.assign(static_cast<std::size_t>(count), T{});
  }
  T* data() { return values_.data(); }
  Index bytes() const noexcept { return static_cast<Index>(values_.size() * sizeof(T)); }

 private:
  std::vector<T> values_;
};

// Runs what a GPU runs as loops on the host: the reference of every other lane, and the means of testing on a
// machine without a GPU what is written for one. Products are plain loops.
class GenericLane : public GenericPrimitives<GenericLane, HostMemory> {
 public:
  template <class T>
  using Memory = HostMemory<T>;

  void select_device() {}
  // What blocks of rows may take of the device's memory.
  Index bytes_to_spare() { return std::numeric_limits<Index>::max(); }

  template <class Functor>
  void for_each(Index n, const Functor& f) {
    for (Index i = 0; i < n; ++i) f(i);
  }

  template <class Real>
  void multiply_nt(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<Real> c) {
    for (Index i = 0; i < c.rows; ++i)
      for (Index j = 0; j < c.cols; ++j) {
        Real sum = 0;
        for (Index k = 0; k < a.cols; ++k) sum += rounded(a(i, k)) * rounded(b(j, k));
        c(i, j) = sum;
      }
  }
  template <class Real>
  void multiply_tn(MatrixView<const Real> a, MatrixView<const Real> b, Real beta, MatrixView<Real> c) {
    for (Index i = 0; i < c.rows; ++i)
      for (Index j = 0; j < c.cols; ++j) {
        Real sum = 0;
        for (Index k = 0; k < a.rows; ++k) sum += rounded(a(k, i)) * rounded(b(k, j));
        c(i, j) = beta == 0 ? sum : sum + beta * c(i, j);
      }
  }

  template <class T>
  void upload(const T* from, T* to, Index count) {
    std::copy_n(from, count, to);
  }
  template <class T>
  void download(const T* from, T* to, Index count) {
    std::copy_n(from, count, to);
  }
  template <class T>
  void clear(T* values, Index count) {
    std::fill_n(values, count, T{});
  }
  // Until all that the lane was given is done.
  void wait() {}

  // What a device's product makes of it.
  double rounded(double value) const { return value; }
  float rounded(float value) const { return tf32() ? generic::to_tf32(value) : value; }

  // Rows on their way to the device, which on a GPU travel while the lane computes on those before them. Two places take
  // turns: begin_transfer waits until the lane is done with the place, end_use says so.
  void begin_transfer(int /*place*/) {}
  // `from` may be reused at once.
  template <class T>
  void transfer(const T* from, T* to, Index count) {
    upload(from, to, count);
  }
  // What the lane is given from here on finds the rows there.
  void end_transfer() {}
  void end_use(int /*place*/) {}
};

}  // namespace tally
