#pragma once
#include <array>
#include <cstdint>
#include <tuple>
#include <type_traits>

#include "core/backends/generic_chain.hpp"
#include "core/backends/generic_kernels.hpp"
#include "core/backends/generic_label_sums.hpp"
#include "core/backends/generic_nearest.hpp"
#include "core/backends/generic_nearest_tf32.hpp"
#include "core/backends/generic_posterior.hpp"
#include "core/backends/generic_symbols.hpp"
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
  // From here on matrix products of floats, and the search for the nearest centre, may round what they multiply to TF32.
  void allow_tf32() { tf32_ = true; }

  // c += a' b: products of slice_rows rows each, whose sum is taken in double and in order. On a GPU there is one
  // product a slice where one for all rows would leave most of it idle; in float longer sums would drift.
  static constexpr Index slice_rows = 256;
  void add_multiply_tn(MatrixView<const double> a, MatrixView<const double> b, MatrixView<double> c) {
    add_slices(a, b, c, products_);
  }
  void add_multiply_tn(MatrixView<const float> a, MatrixView<const float> b, MatrixView<double> c) {
    add_slices(a, b, c, float_products_);
  }

  template <class Real>
  void linear_features(MatrixView<const Real> x, MatrixView<Real> out) {
    run(generic::LinearFeatures<Real>{x, out});
  }
  template <class Real>
  void norm_features(MatrixView<const Real> x, MatrixView<Real> out) {
    self().for_each_group(generic::NormFeatures<Real>{x, out});
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
  void indicator_features(MatrixView<const Real> x, MatrixView<Real> out) {
    run(generic::IndicatorFeatures<Real>{x, out});
  }

  template <class Real>
  void softmax_rows(MatrixView<Real> logits, const cpu::RowTerms& terms, double* objective) {
    double* const sums = row_sums(logits.rows);
    if (logits.cols <= few_columns)
      self().for_each_group(generic::SoftmaxRows<Real, 8>{logits, terms, sums});
    else
      self().for_each_group(generic::SoftmaxRows<Real, 32>{logits, terms, sums});
    add_row_sums(logits.rows, objective);
  }
  template <class Real>
  void argmax_rows(MatrixView<Real> logits, const cpu::RowTerms& terms, std::int32_t* labels,
                   double* objective) {
    double* const sums = row_sums(logits.rows);
    if (logits.cols <= few_columns)
      self().for_each_group(generic::ArgmaxRows<Real, 8>{logits, terms, labels, sums});
    else
      self().for_each_group(generic::ArgmaxRows<Real, 32>{logits, terms, labels, sums});
    add_row_sums(logits.rows, objective);
  }
  template <class Real>
  void nearest_rows(MatrixView<const Real> x, const cpu::Centres<Real>& centres, const cpu::RowTerms& terms,
                    std::int32_t* labels, double* objective) {
    const Index K = centres.exact.rows;
    double* const sums = row_sums(x.rows);
    if constexpr (std::is_same_v<Real, float>)
      if (tf32_) {
        search_by_tf32(x, centres, terms, labels, sums);
        return add_row_sums(x.rows, objective);
      }
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

  template <class Real>
  void look_up(MatrixView<const Real> x, const Real* constants, MatrixView<const Real> table, MatrixView<Real> logits) {
    run(generic::LookUp<Real>{x, constants, table, logits});
  }
  // Sums of slices of rows, whose sum is taken in order. Slices are no shorter than there are symbols: clearing and
  // adding their sums takes no longer than making them.
  template <class Real>
  void add_rows_by_symbol(MatrixView<const Real> x, MatrixView<const Real> posterior, MatrixView<double> sums) {
    const Index symbols = sums.rows / x.cols, size = sums.rows * sums.cols;
    const Index rows_at_once = slice_rows > symbols ? slice_rows : symbols;
    const Index most_rows = rows_at_once * (most_products / size > 1 ? most_products / size : 1);
    for (Index first = 0; first < x.rows; first += most_rows) {
      const MatrixView<const Real> part = rows_of(x, first, most_rows);
      const Index slices = (part.rows + rows_at_once - 1) / rows_at_once;
      products_.reserve(slices * size);
      self().clear(products_.data(), slices * size);
      run(generic::AddBySymbol<Real>{part, rows_of(posterior, first, most_rows), symbols, rows_at_once,
                                     products_.data()});
      run(generic::AddSlices<double>{products_.data(), slices, sums});
    }
  }

  // The recursions of hidden Markov chains: generic_chain.hpp.
  template <class Real>
  void scale_emissions(const generic::ChainBlock<Real>& block) {
    if (block.logits.cols <= few_columns)
      self().for_each_group(generic::ScaleEmissions<Real, 8>{block});
    else
      self().for_each_group(generic::ScaleEmissions<Real, 32>{block});
  }
  template <class Real>
  void chain_forward(const generic::ChainBlock<Real>& block) {
    for_width(block.states, [&]<int width>() { self().for_each_group(generic::ChainForward<Real, width>{block}); });
  }
  template <class Real>
  void chain_backward(const generic::ChainBlock<Real>& block) {
    for_width(block.states, [&]<int width>() { self().for_each_group(generic::ChainBackward<Real, width>{block}); });
  }
  // products (pieces, K + 1, K), zeros.
  template <class Real>
  void chain_compose(const generic::ChainBlock<Real>& block, double* products) {
    for_width(block.states,
                    [&]<int width>() { self().for_each_group(generic::ChainCompose<Real, width>{block, products}); });
  }
  // Adds to *objective; `objectives` (rows) receives that of each row, of weight 1.
  template <class Real>
  void chain_objective(const generic::ChainBlock<Real>& block, const double* weights, double* objectives,
                       double* objective) {
    const Index rows = block.emissions.rows;
    run(generic::ChainObjective{block.scales, block.maxima, weights, objectives, row_sums(rows), rows});
    add_row_sums(rows, objective);
  }
  template <class Real>
  void add_starts(const generic::ChainBlock<Real>& block, const double* weights, double* sums) {
    generic::SumStarts<Real> starts{block.pieces, block.piece_count, weights, block.gamma, nullptr};
    run_sums_.reserve(starts.count());
    starts.sums = run_sums_.data();
    run(starts);
    run(generic::AddSlices<double>{starts.sums, starts.runs(), MatrixView<double>(sums, 1, block.states)});
  }
  // Adds A o sum before_t' after_t of all rows; `transitions` null: without A.
  template <class Real>
  void add_transitions(MatrixView<const Real> before, MatrixView<const Real> after, const double* transitions,
                       double* sums) {
    const Index K = after.cols;
    pieces_.reserve(K * K);
    self().clear(pieces_.data(), K * K);
    self().add_multiply_tn(before, after, MatrixView<double>(pieces_.data(), K, K));
    run(generic::AddTransitions{pieces_.data(), transitions, sums, K * K});
  }

  // Bytes of scratch.
  Index scratch_bytes() const noexcept {
    return products_.bytes() + float_products_.bytes() + row_sums_.bytes() + run_sums_.bytes() + sorted_.bytes() +
           pieces_.bytes() + std::get<0>(workspaces_)[0].bytes() + std::get<0>(workspaces_)[1].bytes() +
           std::get<1>(workspaces_)[0].bytes() + std::get<1>(workspaces_)[1].bytes();
  }

  // products[s] (a.cols, b.cols), one behind the other, becomes the product of the s-th slice_rows rows. A backend that
  // multiplies many matrices at once hides this by one of its own.
  template <class Real>
  void multiply_tn_slices(MatrixView<const Real> a, MatrixView<const Real> b, Real* products) {
    for (Index first = 0; first < a.rows; first += slice_rows, products += a.cols * b.cols)
      self().multiply_tn(rows_of(a, first, slice_rows), rows_of(b, first, slice_rows), Real(0),
                         MatrixView<Real>(products, a.cols, b.cols));
  }

  // The group kernel's groups in any order. A backend whose threads can work in groups hides this by one of its own.
  template <class Kernel>
  void for_each_group(const Kernel& kernel) {
    self().for_each(kernel.groups(), generic::RunSerially<Kernel>{kernel});
  }

  // Of so many calls of for_each, how many may be under way at once: what they need rows of a workspace for.
  static constexpr Index calls_at_once(Index calls) { return calls; }

  // A matrix of the lane's own, one of two of each type, whose values the next call for that one may change.
  template <class Real, int which = 0>
  MatrixView<Real> workspace(Index rows, Index cols) {
    Memory<Real>& values = std::get<std::array<Memory<Real>, 2>>(workspaces_)[which];
    values.reserve(rows * cols);
    return {values.data(), rows, cols};
  }

 protected:
  bool tf32() const { return tf32_; }

  // At most `count` rows from row `first` on.
  template <class Real>
  static MatrixView<const Real> rows_of(MatrixView<const Real> matrix, Index first, Index count) {
    const Index left = matrix.rows - first;
    return {matrix.row(first), count < left ? count : left, matrix.cols, matrix.stride};
  }

 private:
  static constexpr Index most_products = Index{1} << 22;  // elements
  static constexpr Index run_rows = 4096;
  static constexpr Index few_columns = 32;  // that 8 threads keep in registers

  Lane& self() { return static_cast<Lane&>(*this); }

  template <class Functor>
  void run(const Functor& f) {
    self().for_each(f.count(), f);
  }

  // Calls work.operator()<width>() with the narrowest walk that takes so many states.
  template <class Work>
  static void for_width(Index states, const Work& work) {
    if (states <= 8)
      work.template operator()<8>();
    else if (states <= 32)
      work.template operator()<32>();
    else
      work.template operator()<0>();
  }

  template <class Real>
  void add_slices(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<double> c, Memory<Real>& products) {
    const Index size = c.rows * c.cols, slices = (a.rows + slice_rows - 1) / slice_rows;
    if (size == 0 || slices == 0) return;
    Index at_once = most_products / size > 1 ? most_products / size : 1;
    if (slices < at_once) at_once = slices;
    products.reserve(at_once * size);
    for (Index first = 0; first < slices; first += at_once) {
      const Index count = first + at_once < slices ? at_once : slices - first;
      self().multiply_tn_slices(rows_of(a, first * slice_rows, count * slice_rows),
                                rows_of(b, first * slice_rows, count * slice_rows), products.data());
      run(generic::AddSlices<Real>{products.data(), count, c});
    }
  }

  void search_by_tf32(MatrixView<const float> x, const cpu::Centres<float>& centres, const cpu::RowTerms& terms,
                      std::int32_t* labels, double* sums) {
    const Index K = centres.exact.rows;
    if (K <= 16)
      self().for_each_group(generic::NearestRowsTf32<2>{x, centres, terms, labels, sums});
    else if (K <= 32)
      self().for_each_group(generic::NearestRowsTf32<4>{x, centres, terms, labels, sums});
    else
      self().for_each_group(generic::NearestRowsTf32<8>{x, centres, terms, labels, sums});
  }

  double* row_sums(Index rows) {
    row_sums_.reserve(rows);
    return row_sums_.data();
  }
  void add_row_sums(Index rows, double* to) {
    const Index runs = (rows + run_rows - 1) / run_rows;
    run_sums_.reserve(runs);
    self().for_each_group(
        generic::SumRuns{row_sums_.data(), rows, run_rows, generic::SumTo::replace, run_sums_.data()});
    self().for_each_group(generic::SumRuns{run_sums_.data(), runs, runs, generic::SumTo::add, to});
  }

  bool tf32_ = false;
  Memory<double> products_;
  Memory<float> float_products_;
  std::tuple<std::array<Memory<double>, 2>, std::array<Memory<float>, 2>> workspaces_;
  Memory<double> row_sums_, run_sums_, pieces_;
  Memory<std::int32_t> sorted_;
};

}  // namespace tally
