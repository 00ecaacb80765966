#pragma once
#include <span>

#include "core/view.hpp"

// Matrix products and factorisations by the BLAS and LAPACK at hand, called on one thread: lanes are the
// parallelism, and the bits must not depend on a library's own threads.
namespace tally::blas {

// Tells a threaded library (OpenBLAS, MKL, BLIS) to compute on so many threads, from this thread at least.
void use_threads(int threads);
// On the calling thread alone. Call once at start.
void use_one_thread();
// The same for the calling thread alone, where a library built on OpenMP counts threads for each caller: every lane
// says it when it starts.
void use_one_thread_here();
// The library and its version where it says so, for reports.
const char* library_name();

// c = a b' : a (m, k), b (n, k), c (m, n).
void multiply_nt(MatrixView<const double> a, MatrixView<const double> b, MatrixView<double> c);
void multiply_nt(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c);
// c = a' b + beta c : a (k, m), b (k, n), c (m, n).
void multiply_tn(MatrixView<const double> a, MatrixView<const double> b, double beta, MatrixView<double> c);
void multiply_tn(MatrixView<const float> a, MatrixView<const float> b, float beta, MatrixView<float> c);

// Replaces the symmetric (n, n) by its lower Cholesky factor L, a = L L', zeros above. Returns 0, or 1 + the index of
// the first pivot that is not positive.
Index cholesky(MatrixView<double> a);
// Replaces a lower triangular (n, n) by its inverse.
void invert_lower(MatrixView<double> a);
// Replaces the symmetric (n, n) by its eigenvectors, a row each, those of the smallest eigenvalues (n) first. Returns
// false where they are not found.
bool symmetric_eigen(MatrixView<double> a, std::span<double> eigenvalues);
// Replaces b (n) by the solution of a x = b and a (n, n) by factors. Returns false where a is singular.
bool solve(MatrixView<double> a, std::span<double> b);

}  // namespace tally::blas
