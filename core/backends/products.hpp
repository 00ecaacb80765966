#pragma once
#include "core/view.hpp"

// Matrix products of the shapes that E-steps have: many rows, or many rows summed, and few of all else. Every element is a chain of
// fused multiply-adds in the order of what is summed, or several where said, so that its bits depend on no vector width, no blocking and no
// library (where a processor has no fused multiply-add, on two roundings).
namespace tally::cpu {

// c = a b' : a (m, k), b (n, k), c (m, n). Each element is one chain over k; where b has one row, as many as fill 128 bytes,
// term j in chain j modulo their number, and halves are added to halves.
template <class Real>
void multiply_nt(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<Real> c);

// c += a b' : as multiply_nt, the chain of each element beginning with what is there (where b has one row, what its chains make is added).
template <class Real>
void add_multiply_nt(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<Real> c);

// c += a' b : a (k, m), b (k, n), c (m, n). Chains over summed_rows of the k rows, in Real, are added in double, in their order.
template <class Real>
void add_multiply_tn(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<double> c);

inline constexpr Index summed_rows = 192;

}  // namespace tally::cpu
