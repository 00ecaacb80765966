#pragma once
#include <algorithm>
#include <cstring>
#include <memory>
#include <type_traits>

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include "core/backends/check_cuda.hpp"
#include "core/backends/cuda_memory.hpp"
#include "core/backends/cuda_transfer.hpp"
#include "core/backends/generic_primitives.hpp"
#include "core/backends/groups.hpp"
#include "core/view.hpp"

// Included only by sources that are compiled as CUDA.
namespace tally {

namespace cuda {
template <class Functor>
__global__ void for_each_index(Index n, const Functor f) {
  const Index step = static_cast<Index>(gridDim.x) * blockDim.x;
  for (Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}

// A block of threads as a group (groups.hpp).
template <class Own>
class BlockGroup {
 public:
  template <class F>
  TALLY_HD void each(const F& f) {
#ifdef __CUDA_ARCH__
    f(static_cast<int>(threadIdx.x), own_);
    __syncthreads();
#endif
  }
  template <class F>
  TALLY_HD void each_alone(const F& f) {
#ifdef __CUDA_ARCH__
    f(static_cast<int>(threadIdx.x), own_);
#endif
  }
  template <class A, class B, class C>
  TALLY_HD void multiply_tf32(const A& a, const B& b, const C& c) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    const generic::Pack<float, 4> left = a(own_);
    const generic::Pack<float, 2> right = b(own_);
    float(&sums)[4] = c(own_);
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(__float_as_uint(left.values[0])), "r"(__float_as_uint(left.values[1])),
          "r"(__float_as_uint(left.values[2])), "r"(__float_as_uint(left.values[3])),
          "r"(__float_as_uint(right.values[0])), "r"(__float_as_uint(right.values[1])));
#endif
  }
  template <int lanes, class Member, class Op>
  TALLY_HD void combine(const Member& member, const Op& op) {
#ifdef __CUDA_ARCH__
    static_assert(lanes <= 32);
    auto& value = member(own_);
#pragma unroll
    for (int offset = lanes / 2; offset > 0; offset /= 2) value = op(value, of_neighbour(value, offset));
#endif
  }

 private:
  // The value of the thread of the same warp whose number differs in the bit `offset`, moved word by word.
  template <class T>
  static __device__ T of_neighbour(const T& value, int offset) {
    static_assert(sizeof(T) % sizeof(unsigned) == 0);
    constexpr int count = sizeof(T) / sizeof(unsigned);
    unsigned words[count];
    T result;
    memcpy(words, &value, sizeof value);
#pragma unroll
    for (int i = 0; i < count; ++i) words[i] = __shfl_xor_sync(0xFFFFFFFFU, words[i], offset);
    memcpy(&result, words, sizeof result);
    return result;
  }
  Own own_;
};

template <class Kernel>
__global__ void __launch_bounds__(Kernel::threads, Kernel::groups_at_once) for_each_group(const Kernel kernel, Index groups) {
  __shared__ typename Kernel::Shared shared;
  BlockGroup<typename Kernel::Own> group;
  for (Index i = blockIdx.x; i < groups; i += gridDim.x) kernel(i, group, shared);
}
}  // namespace cuda

// One stream's means of computing on a GPU, with a cuBLAS handle and workspace of its own, so that what
// cuBLAS chooses does not depend on what else runs. Pointers and views are device memory. Calls return before
// the work is done; upload and download wait for it. The members are CpuLane's.
class CudaLane : public GenericPrimitives<CudaLane, CudaMemory> {
 public:
  template <class T>
  using Memory = CudaMemory<T>;

  // On the current device. Throws DeviceError.
  CudaLane() {
    check_cuda(cudaGetDevice(&device_));
    stream_ = make_cuda_stream();
    cublasHandle_t handle = nullptr;
    check_cublas(cublasCreate(&handle));
    handle_.reset(handle);
    workspace_.reserve(workspace_bytes);
    check_cublas(cublasSetStream(handle, stream_.get()));  // forgets any workspace: must come first
    check_cublas(cublasSetWorkspace(handle, workspace_.data(), workspace_bytes));
    check_cublas(cublasSetPointerMode(handle, CUBLAS_POINTER_MODE_HOST));
    check_cublas(cublasSetAtomicsMode(handle, CUBLAS_ATOMICS_NOT_ALLOWED));
    check_cublas(cublasSetMathMode(handle, CUBLAS_DEFAULT_MATH));  // no TF32 but where a call asks for it
  }

  // Makes this lane's device the calling thread's.
  void select_device() { check_cuda(cudaSetDevice(device_)); }

  // GPUs older than compute capability 8.0 compute as if nobody had asked.
  void allow_tf32() {
    int major = 0;
    check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_));
    if (major >= 8) GenericPrimitives::allow_tf32();
  }

  // What blocks of rows may take of the device's memory: what is free, less what lanes and libraries will ask for.
  Index bytes_to_spare() const {
    std::size_t available = 0, total = 0;
    check_cuda(cudaMemGetInfo(&available, &total));
    return static_cast<Index>(available) - static_cast<Index>(total / 8);
  }

  template <class Functor>
  void for_each(Index n, const Functor& f) {
    if (n <= 0) return;
    constexpr Index threads = 128, most_blocks = Index{1} << 20;
    const auto blocks = static_cast<unsigned>(std::min((n + threads - 1) / threads, most_blocks));
    cuda::for_each_index<<<blocks, static_cast<unsigned>(threads), 0, stream_.get()>>>(n, f);
    check_cuda(cudaGetLastError());
  }

  template <class Kernel>
  void for_each_group(const Kernel& kernel) {
    const Index groups = kernel.groups();
    if (groups <= 0) return;
    const auto blocks = static_cast<unsigned>(std::min(groups, Index{1} << 20));
    cuda::for_each_group<<<blocks, Kernel::threads, 0, stream_.get()>>>(kernel, groups);
    check_cuda(cudaGetLastError());
  }

  // To cuBLAS, whose matrices are column-major, a row-major matrix is its transpose: c' = b a' and c' = b' a.
  template <class Real>
  void multiply_nt(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<Real> c) {
    multiply(CUBLAS_OP_T, CUBLAS_OP_N, a.cols, b, a, Real(0), c);
  }
  template <class Real>
  void multiply_tn(MatrixView<const Real> a, MatrixView<const Real> b, Real beta, MatrixView<Real> c) {
    multiply(CUBLAS_OP_N, CUBLAS_OP_T, a.rows, b, a, beta, c);
  }

  template <class Real>
  void multiply_tn_slices(MatrixView<const Real> a, MatrixView<const Real> b, Real* products) {
    const Index slices = a.rows / slice_rows, whole = slices * slice_rows;
    if (slices > 0) multiply_slices(slices, a, b, products);
    if (whole < a.rows)
      multiply_tn(rows_of(a, whole, slice_rows), rows_of(b, whole, slice_rows), Real(0),
                  MatrixView<Real>(products + slices * a.cols * b.cols, a.cols, b.cols));
  }

  Index scratch_bytes() const noexcept { return GenericPrimitives::scratch_bytes() + workspace_.bytes(); }

  // Copies `count` elements to the device; `from` may be reused at once.
  template <class T>
  void upload(const T* from, T* to, Index count) {
    copy(from, to, count, cudaMemcpyHostToDevice);
  }
  // Waits for all work of this lane, then copies to the host.
  template <class T>
  void download(const T* from, T* to, Index count) {
    copy(from, to, count, cudaMemcpyDeviceToHost);
  }
  // See GenericLane.
  void wait() { check_cuda(cudaStreamSynchronize(stream_.get())); }
  void begin_transfer(int place) { transfer_.begin(place); }
  template <class T>
  void transfer(const T* from, T* to, Index count) {
    transfer_.copy(from, to, static_cast<std::size_t>(count) * sizeof(T));
  }
  void end_transfer() { transfer_.end(stream_.get()); }
  void end_use(int place) { transfer_.end_use(place, stream_.get()); }
  // Sets numbers of device memory to zero.
  template <class T>
  void clear(T* values, Index count) {
    static_assert(std::is_arithmetic_v<T>);
    if (count > 0)
      check_cuda(cudaMemsetAsync(values, 0, static_cast<std::size_t>(count) * sizeof(T), stream_.get()));
  }

 private:
  static constexpr Index workspace_bytes = Index{32} << 20;  // what NVIDIA recommends for Hopper

  template <class T>
  void copy(const T* from, T* to, Index count, cudaMemcpyKind kind) {
    if (count <= 0) return;
    check_cuda(cudaMemcpyAsync(to, from, static_cast<std::size_t>(count) * sizeof(T), kind, stream_.get()));
    check_cuda(cudaStreamSynchronize(stream_.get()));
  }

  // c' (c.cols, c.rows) = b^? a^? + beta c', summed over `inner`, in column-major terms.
  void multiply(cublasOperation_t of_b, cublasOperation_t of_a, Index inner, MatrixView<const double> b,
                MatrixView<const double> a, double beta, MatrixView<double> c) {
    const double one = 1;
    check_cublas(cublasDgemm_64(handle_.get(), of_b, of_a, c.cols, c.rows, inner, &one, b.data, b.stride,
                                a.data, a.stride, &beta, c.data, c.stride));
  }
  void multiply(cublasOperation_t of_b, cublasOperation_t of_a, Index inner, MatrixView<const float> b,
                MatrixView<const float> a, float beta, MatrixView<float> c) {
    const float one = 1;
    check_cublas(cublasGemmEx_64(handle_.get(), of_b, of_a, c.cols, c.rows, inner, &one, b.data, CUDA_R_32F, b.stride,
                                 a.data, CUDA_R_32F, a.stride, &beta, c.data, CUDA_R_32F, c.stride,
                                 compute_of_floats(), CUBLAS_GEMM_DEFAULT));
  }

  // The products of the first `count` slices of slice_rows rows.
  void multiply_slices(Index count, MatrixView<const double> a, MatrixView<const double> b, double* products) {
    const double one = 1, zero = 0;
    check_cublas(cublasDgemmStridedBatched_64(handle_.get(), CUBLAS_OP_N, CUBLAS_OP_T, b.cols, a.cols, slice_rows, &one,
                                              b.data, b.stride, slice_rows * b.stride, a.data, a.stride,
                                              slice_rows * a.stride, &zero, products, b.cols, a.cols * b.cols, count));
  }
  void multiply_slices(Index count, MatrixView<const float> a, MatrixView<const float> b, float* products) {
    const float one = 1, zero = 0;
    check_cublas(cublasGemmStridedBatchedEx_64(
        handle_.get(), CUBLAS_OP_N, CUBLAS_OP_T, b.cols, a.cols, slice_rows, &one, b.data, CUDA_R_32F, b.stride,
        slice_rows * b.stride, a.data, CUDA_R_32F, a.stride, slice_rows * a.stride, &zero, products, CUDA_R_32F, b.cols,
        a.cols * b.cols, count, compute_of_floats(), CUBLAS_GEMM_DEFAULT));
  }

  cublasComputeType_t compute_of_floats() const { return tf32() ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F; }

  // Destructors cannot report what they are told.
  struct DestroyHandle {
    void operator()(cublasHandle_t handle) const noexcept { (void)cublasDestroy(handle); }
  };
  int device_ = 0;
  CudaStream stream_;
  CudaTransfer transfer_;
  CudaMemory<unsigned char> workspace_;
  std::unique_ptr<std::remove_pointer_t<cublasHandle_t>, DestroyHandle> handle_;
};

}  // namespace tally
