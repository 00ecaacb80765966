#pragma once
#include <cstdint>

#include "core/view.hpp"

// The loops around the matrix products, vectorised for the processor at hand (Highway chooses when the program
// runs). Real is float or double; every sum over rows or columns runs in a fixed order, so that equal input gives
// equal bits on equal processors.
namespace tally::cpu {

// Monomials up to degree two: row i of `out` (rows, 1 + D + D(D+1)/2) becomes [1, x_i, x_ia x_ib for a <= b].
template <class Real>
void quadratic_features(MatrixView<const Real> x, MatrixView<Real> out);

// Those of them that are `first` and as many after it as `out` has columns.
template <class Real>
void quadratic_features_from(Index first, MatrixView<const Real> x, MatrixView<Real> out);

// Row i of `out` (rows, 1 + 2D) becomes [1, x_i, x_i squared].
template <class Real>
void square_features(MatrixView<const Real> x, MatrixView<Real> out);

// Row i of `out` (rows, 2 + D) becomes [1, x_i, |x_i|^2].
template <class Real>
void norm_features(MatrixView<const Real> x, MatrixView<Real> out);

// Row i of `out` (rows, 1 + D) becomes [1, x_i].
template <class Real>
void linear_features(MatrixView<const Real> x, MatrixView<Real> out);

// Row i of `out` (rows, 1 + 2D) becomes [1, x_i, 1 - x_i].
template <class Real>
void indicator_features(MatrixView<const Real> x, MatrixView<Real> out);

// What the posterior kernels read of each row besides its logits. Null pointers: weights of 1, offsets of 0.
struct RowTerms {
  const double* weights = nullptr;  // (rows)
  const double* offsets = nullptr;  // (rows), added to the row's log-density: what is the same for every column
  double* objective = nullptr;      // (rows) or null: receives log sum_k exp(logit_k) + offset, unweighted

  TALLY_HD double weight(Index row) const { return weights ? weights[row] : 1.0; }
};

// Each row of `logits` (rows, K) becomes weight_i * softmax(row). Returns sum_i weight_i (log-sum-exp_i + offset_i).
// A row of -inf alone becomes zeros with an objective of -inf. NaN or +inf logits give a NaN result, never a wrong one.
template <class Real>
double softmax_rows(MatrixView<Real> logits, const RowTerms& terms);

// Each row of `logits` becomes weight_i at its first maximum and 0 elsewhere; labels (rows) or null receives the
// column. Returns sum_i weight_i (maximum_i + offset_i).
template <class Real>
double argmax_rows(MatrixView<Real> logits, const RowTerms& terms, std::int32_t* labels);

// Centres, scales and converts raw rows: out(i, d) = Real((raw(i, d) - centre[d]) * scale[d]).
template <class Real>
void standardise_rows(MatrixView<const double> raw, const double* centre, const double* scale, MatrixView<Real> out);

}  // namespace tally::cpu
