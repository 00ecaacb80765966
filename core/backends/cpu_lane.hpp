#pragma once
#include <array>
#include <span>
#include <tuple>
#include <vector>

#include "core/backends/chain.hpp"
#include "core/backends/cpu_kernels.hpp"
#include "core/backends/nearest.hpp"
#include "core/backends/products.hpp"
#include "core/backends/symbols.hpp"
#include "core/view.hpp"

namespace tally {

// One thread's means of computing on the CPU: the primitives that every model is written against. A lane of another
// backend has the same members; sums they hand out are pointers to the lane's memory.
class CpuLane {
 public:
  // f(i) for i in [0, n); on a GPU the calls are concurrent.
  template <class Functor>
  void for_each(Index n, const Functor& f) {
    for (Index i = 0; i < n; ++i) f(i);
  }

  // c = a b'
  template <class Real>
  void multiply_nt(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<Real> c) {
    cpu::multiply_nt(a, b, c);
  }
  // c += a b'
  template <class Real>
  void add_multiply_nt(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<Real> c) {
    cpu::add_multiply_nt(a, b, c);
  }
  // c += a' b, summed over at most summed_rows rows in Real and beyond that in double.
  template <class Real>
  void add_multiply_tn(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<double> c) {
    cpu::add_multiply_tn(a, b, c);
  }

  template <class Real>
  void linear_features(MatrixView<const Real> x, MatrixView<Real> out) {
    cpu::linear_features(x, out);
  }
  template <class Real>
  void norm_features(MatrixView<const Real> x, MatrixView<Real> out) {
    cpu::norm_features(x, out);
  }
  template <class Real>
  void square_features(MatrixView<const Real> x, MatrixView<Real> out) {
    cpu::square_features(x, out);
  }
  template <class Real>
  void quadratic_features(MatrixView<const Real> x, MatrixView<Real> out) {
    cpu::quadratic_features(x, out);
  }
  template <class Real>
  void quadratic_features_from(Index first, MatrixView<const Real> x, MatrixView<Real> out) {
    cpu::quadratic_features_from(first, x, out);
  }
  template <class Real>
  void indicator_features(MatrixView<const Real> x, MatrixView<Real> out) {
    cpu::indicator_features(x, out);
  }

  // The row kernels add their sum over rows to *objective.
  template <class Real>
  void softmax_rows(MatrixView<Real> logits, const cpu::RowTerms& terms, double* objective) {
    *objective += cpu::softmax_rows(logits, terms);
  }
  template <class Real>
  void argmax_rows(MatrixView<Real> logits, const cpu::RowTerms& terms, std::int32_t* labels, double* objective) {
    *objective += cpu::argmax_rows(logits, terms, labels);
  }
  template <class Real>
  void nearest_rows(MatrixView<const Real> x, const cpu::Centres<Real>& centres, const cpu::RowTerms& terms,
                    std::int32_t* labels, double* objective, const cpu::RememberedRows& remembered = {}) {
    *objective += cpu::nearest_rows(x, centres, terms, labels, remembered);
  }
  template <class Real>
  void add_rows_by_label(MatrixView<const Real> x, const std::int32_t* labels, const double* weights,
                         MatrixView<const double> origins, MatrixView<double> sums) {
    cpu::add_rows_by_label(x, labels, weights, origins, sums);
  }

  // The recursions of hidden Markov chains: core/backends/chain.hpp.
  template <class Real>
  void scale_emissions(MatrixView<Real> logits, double* maxima) {
    cpu::scale_emissions(logits, maxima);
  }
  template <class Real>
  Index chain_forward(const cpu::ChainWeights<Real>& weights, std::span<const cpu::ChainPiece> pieces,
                      MatrixView<const Real> emissions, MatrixView<Real> alpha, double* scales, bool* kept = nullptr) {
    return cpu::chain_forward(weights, pieces, emissions, alpha, scales, kept);
  }
  template <class Real>
  void chain_backward(const cpu::ChainWeights<Real>& weights, std::span<const cpu::ChainPiece> pieces,
                      MatrixView<Real> emissions, MatrixView<const Real> alpha, const double* scales,
                      MatrixView<Real> gamma, std::vector<Index>& beyond) {
    cpu::chain_backward(weights, pieces, emissions, alpha, scales, gamma, beyond);
  }
  template <class Real>
  void chain_compose(const cpu::ChainWeights<Real>& weights, MatrixView<const Real> emissions, MatrixView<double> product,
                     double* log_scales) {
    cpu::chain_compose(weights, emissions, product, log_scales);
  }

  // Of rows of symbols (symbols.hpp).
  template <class Real>
  void look_up(MatrixView<const Real> x, const Real* constants, MatrixView<const Real> table, MatrixView<Real> logits) {
    cpu::look_up(x, constants, table, logits);
  }
  template <class Real>
  void add_rows_by_symbol(MatrixView<const Real> x, MatrixView<const Real> posterior, MatrixView<double> sums) {
    cpu::add_rows_by_symbol(x, posterior, sums);
  }

  // Row k of `sums` (K, 1 + D) += sum_i posterior_ik [1, x_i - origin_k], row by row in double.
  template <class Real>
  void add_weighted_rows(MatrixView<const Real> x, MatrixView<const Real> posterior, MatrixView<const double> origins,
                         MatrixView<double> sums) {
    for (Index i = 0; i < x.rows; ++i)
      for (Index k = 0; k < sums.rows; ++k) {
        const auto weight = static_cast<double>(posterior(i, k));
        double* to = sums.row(k);
        if (weight == 0) continue;
        to[0] += weight;
        for (Index d = 0; d < x.cols; ++d) to[1 + d] += weight * (static_cast<double>(x(i, d)) - origins(k, d));
      }
  }

  // Of so many calls of for_each, how many may be under way at once: what they need rows of a workspace for.
  static constexpr Index calls_at_once(Index) { return 1; }

  // A matrix of the lane's own, one of two of each type, whose values the next call for that one may change.
  template <class Real, int which = 0>
  MatrixView<Real> workspace(Index rows, Index cols) {
    std::vector<Real>& values = std::get<std::array<std::vector<Real>, 2>>(workspaces_)[which];
    if (static_cast<Index>(values.size()) < rows * cols) values.resize(static_cast<std::size_t>(rows * cols));
    return {values.data(), rows, cols};
  }

 private:
  std::tuple<std::array<std::vector<double>, 2>, std::array<std::vector<float>, 2>> workspaces_;
};

}  // namespace tally
