#pragma once
#include <cstdint>

#include "core/backends/generic_kernels.hpp"
#include "core/backends/generic_label_sums.hpp"
#include "core/backends/generic_nearest.hpp"
#include "core/backends/groups.hpp"
#include "core/block.hpp"
#include "core/view.hpp"

namespace tally {

// The primitives of a lane (see CpuLane) made of four that its backend supplies:
//   void for_each(Index n, const Functor&);      f(i) for i in [0, n), in any order
//   void clear(T* values, Index count);          sets numbers to zero
//   void multiply_nt(a, b, c);                   c = a b', MatrixView<const Real> and MatrixView<Real>
//   void multiply_tn(a, b, Real beta, c);        c = a' b + beta c
// each finished, as far as the next call can tell, before the next begins. Memory<T> owns the backend's
// memory: reserve(count) makes room and loses what was there, data() points to it, bytes() says how much it
// is. All views and pointers are the backend's.
template <class Lane, template <class> class Memory>
class GenericPrimitives {
 public:
  void add_multiply_tn(MatrixView<const double> a, MatrixView<const double> b, MatrixView<double> c) {
    self().multiply_tn(a, b, 1.0, c);
  }
  // Float products are summed over tile_rows rows at most, and beyond that in double, as on the CPU.
  void add_multiply_tn(MatrixView<const float> a, MatrixView<const float> b, MatrixView<double> c) {
    product_.reserve(c.rows * c.cols);
    const MatrixView<float> product(product_.data(), c.rows, c.cols);
    for (Index first = 0; first < a.rows; first += tile_rows) {
      const Index rows = first + tile_rows < a.rows ? tile_rows : a.rows - first;
      self().multiply_tn(MatrixView<const float>(a.row(first), rows, a.cols, a.stride),
                         MatrixView<const float>(b.row(first), rows, b.cols, b.stride), 0.0F, product);
      run(generic::AddToDouble<float>{product, c});
    }
  }

  template <class Real>
  void linear_features(MatrixView<const Real> x, MatrixView<Real> out) {
    run(generic::LinearFeatures<Real>{x, out});
  }
  template <class Real>
  void norm_features(MatrixView<const Real> x, MatrixView<Real> out) {
    run(generic::NormFeatures<Real>{x, out});
  }
  template <class Real>
  void square_features(MatrixView<const Real> x, MatrixView<Real> out) {
    run(generic::SquareFeatures<Real>{x, out});
  }
  template <class Real>
  void quadratic_features(MatrixView<const Real> x, MatrixView<Real> out) {
    run(generic::QuadraticFeatures<Real>{x, out});
  }

  template <class Real>
  void softmax_rows(MatrixView<Real> logits, const cpu::RowTerms& terms, double* objective) {
    run(generic::SoftmaxRow<Real>{logits, terms, row_sums(logits.rows)});
    add_row_sums(logits.rows, objective);
  }
  template <class Real>
  void argmax_rows(MatrixView<Real> logits, const cpu::RowTerms& terms, std::int32_t* labels,
                   double* objective) {
    run(generic::ArgmaxRow<Real>{logits, terms, labels, row_sums(logits.rows)});
    add_row_sums(logits.rows, objective);
  }
  template <class Real>
  void nearest_rows(MatrixView<const Real> x, const cpu::Centres<Real>& centres, const cpu::RowTerms& terms,
                    std::int32_t* labels, double* objective) {
    const Index K = centres.exact.rows;
    double* const sums = row_sums(x.rows);
    if (K <= 16)
      self().for_each_group(generic::NearestRows<Real, 2>{x, centres, terms, labels, sums});
    else if (K <= 32)
      self().for_each_group(generic::NearestRows<Real, 4>{x, centres, terms, labels, sums});
    else
      self().for_each_group(generic::NearestRows<Real, 8>{x, centres, terms, labels, sums});
    add_row_sums(x.rows, objective);
  }
  template <class Real>
  void add_rows_by_label(MatrixView<const Real> x, const std::int32_t* labels, const double* weights,
                         MatrixView<const double> origins, MatrixView<double> sums) {
    generic::SortedRows sorted{labels, x.rows, sums.rows};
    sorted_.reserve(sorted.size());
    sorted.place(sorted_.data());
    self().clear(sorted.chunk_counts, sorted.chunks() * sums.rows);
    self().for_each_group(generic::RankRows{sorted});
    run(generic::AddUpSpans{sorted});
    run(generic::AddUpLabels{sorted});
    run(generic::CutLabels{sorted});
    run(generic::PlaceRow{sorted});
    pieces_.reserve(sorted.most_pieces() * sums.cols);
    run(generic::SumPiece<Real>{sorted, x, weights, origins, pieces_.data()});
    run(generic::AddPieces{sorted, pieces_.data(), sums});
  }
  template <class Real>
  void add_weighted_rows(MatrixView<const Real> x, MatrixView<const Real> posterior,
                         MatrixView<const double> origins, MatrixView<double> sums) {
    run(generic::AddWeightedRows<Real>{x, posterior, origins, sums});
  }

  // Bytes of scratch.
  Index scratch_bytes() const noexcept {
    return product_.bytes() + row_sums_.bytes() + run_sums_.bytes() + sorted_.bytes() + pieces_.bytes();
  }

  // The group kernel's groups in any order. A backend whose threads can work in groups hides this by one of its own.
  template <class Kernel>
  void for_each_group(const Kernel& kernel) {
    self().for_each(kernel.groups(), generic::RunSerially<Kernel>{kernel});
  }

 private:
  static constexpr Index run_rows = 64;

  Lane& self() { return static_cast<Lane&>(*this); }

  template <class Functor>
  void run(const Functor& f) {
    self().for_each(f.count(), f);
  }

  double* row_sums(Index rows) {
    row_sums_.reserve(rows);
    return row_sums_.data();
  }
  void add_row_sums(Index rows, double* to) {
    const Index runs = (rows + run_rows - 1) / run_rows;
    run_sums_.reserve(runs);
    run(generic::SumRuns{row_sums_.data(), rows, run_rows, generic::SumTo::replace, run_sums_.data()});
    run(generic::SumRuns{run_sums_.data(), runs, runs, generic::SumTo::add, to});
  }

  Memory<float> product_;
  Memory<double> row_sums_, run_sums_, pieces_;
  Memory<std::int32_t> sorted_;
};

}  // namespace tally
