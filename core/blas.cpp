#include "core/blas.hpp"

#include <cblas.h>
#include <dlfcn.h>

#include <stdexcept>
#include <vector>

extern "C" {
void dgetrf_(const int* m, const int* n, double* a, const int* lda, int* pivots, int* info);
void dgetrs_(const char* trans, const int* n, const int* columns, const double* a, const int* lda, const int* pivots,
             double* b, const int* ldb, int* info);
void dsyev_(const char* job, const char* uplo, const int* n, double* a, const int* lda, double* w, double* work,
            const int* work_size, int* info);
void dpotrf_(const char* uplo, const int* n, double* a, const int* lda, int* info);
void dtrtri_(const char* uplo, const char* diag, const int* n, double* a, const int* lda, int* info);
}

namespace tally::blas {
namespace {

int narrow(Index value) {
  if (value > 2147483647) throw std::length_error("a matrix for BLAS has more than 2^31 - 1 rows or columns");
  return static_cast<int>(value);
}

template <class Function>
Function* find(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

}  // namespace

void use_threads(int threads) {
  for (const char* name : {"openblas_set_num_threads", "MKL_Set_Num_Threads", "bli_thread_set_num_threads",
                           "omp_set_num_threads"})
    if (auto* set = find<void(int)>(name)) set(threads);
}

void use_one_thread() { use_threads(1); }

void use_one_thread_here() {
  if (auto* set = find<void(int)>("omp_set_num_threads")) set(1);
}

const char* library_name() {
  using Describe = char*();
  if (auto* describe = find<Describe>("openblas_get_config")) return describe();
  if (find<void()>("MKL_Set_Num_Threads")) return "MKL";
  if (find<void()>("bli_info_get_version_str")) return "BLIS";
  return "unknown BLAS";
}

void multiply_nt(MatrixView<const double> a, MatrixView<const double> b, MatrixView<double> c) {
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, narrow(c.rows), narrow(c.cols), narrow(a.cols), 1, a.data,
              narrow(a.stride), b.data, narrow(b.stride), 0, c.data, narrow(c.stride));
}

void multiply_nt(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, narrow(c.rows), narrow(c.cols), narrow(a.cols), 1, a.data,
              narrow(a.stride), b.data, narrow(b.stride), 0, c.data, narrow(c.stride));
}

void multiply_tn(MatrixView<const double> a, MatrixView<const double> b, double beta, MatrixView<double> c) {
  cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, narrow(c.rows), narrow(c.cols), narrow(a.rows), 1, a.data,
              narrow(a.stride), b.data, narrow(b.stride), beta, c.data, narrow(c.stride));
}

void multiply_tn(MatrixView<const float> a, MatrixView<const float> b, float beta, MatrixView<float> c) {
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, narrow(c.rows), narrow(c.cols), narrow(a.rows), 1, a.data,
              narrow(a.stride), b.data, narrow(b.stride), beta, c.data, narrow(c.stride));
}

// LAPACK counts columns first: the lower triangle of a row-major matrix is its upper one.
Index cholesky(MatrixView<double> a) {
  const int n = narrow(a.rows), stride = narrow(a.stride);
  int info = 0;
  dpotrf_("U", &n, a.data, &stride, &info);
  for (Index i = 0; i < a.rows; ++i)
    for (Index j = i + 1; j < a.rows; ++j) a(i, j) = 0;
  return info;
}

void invert_lower(MatrixView<double> a) {
  const int n = narrow(a.rows), stride = narrow(a.stride);
  int info = 0;
  dtrtri_("U", "N", &n, a.data, &stride, &info);
  if (info != 0) throw std::domain_error("a triangular matrix with a zero on its diagonal has no inverse");
}

// What are columns to LAPACK are rows.
bool symmetric_eigen(MatrixView<double> a, std::span<double> eigenvalues) {
  const int n = narrow(a.rows), stride = narrow(a.stride), ask = -1;
  int info = 0;
  double best = 0;
  dsyev_("V", "U", &n, a.data, &stride, eigenvalues.data(), &best, &ask, &info);
  std::vector<double> work(static_cast<std::size_t>(best));
  const int size = narrow(static_cast<Index>(work.size()));
  dsyev_("V", "U", &n, a.data, &stride, eigenvalues.data(), work.data(), &size, &info);
  return info == 0;
}

// What LAPACK factors is the transpose of a row-major matrix.
bool solve(MatrixView<double> a, std::span<double> b) {
  const int n = narrow(a.rows), stride = narrow(a.stride), one = 1;
  std::vector<int> pivots(b.size());
  int info = 0;
  dgetrf_(&n, &n, a.data, &stride, pivots.data(), &info);
  if (info != 0) return false;
  dgetrs_("T", &n, &one, a.data, &stride, pivots.data(), b.data(), &n, &info);
  return info == 0;
}

}  // namespace tally::blas
