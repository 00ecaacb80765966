#include "launch/bench/ceilings.hpp"

#include <cstring>
#include <thread>
#include <vector>

#include "core/blas.hpp"

namespace tally::bench {
namespace {

// Runs work(thread) on all threads at once, until the last ends.
template <class Work>
Seconds time_threads(int threads, const Work& work) {
  const Seconds start = now();
  {
    std::vector<std::jthread> running;
    for (int thread = 0; thread < threads; ++thread) running.emplace_back([&, thread] { work(thread); });
  }
  return now() - start;
}

// The part of n things that a thread takes: [begin, end).
struct Part {
  Index begin, end;
};
Part part_of(Index n, int thread, int threads) { return {n * thread / threads, n * (thread + 1) / threads}; }

template <class Real>
Seconds time_gemm_of(int threads, Index n) {
  std::vector<Real> a(n * n), b(n * n), c(n * n);
  for (Index i = 0; i < n * n; ++i) {
    a[static_cast<std::size_t>(i)] = static_cast<Real>(i * 37 % 101) / 101;
    b[static_cast<std::size_t>(i)] = static_cast<Real>(i * 53 % 103) / 103;
  }
  blas::use_threads(threads);
  const Seconds start = now();
  blas::multiply_nt(MatrixView<const Real>(a.data(), n, n), MatrixView<const Real>(b.data(), n, n),
                    MatrixView<Real>(c.data(), n, n));
  const Seconds taken = now() - start;
  blas::use_one_thread();
  return taken;
}

}  // namespace

Seconds time_gemm(Precision precision, int threads, Index n) {
  return in_float(precision) ? time_gemm_of<float>(threads, n) : time_gemm_of<double>(threads, n);
}

Seconds time_copy(int threads, Index bytes) {
  std::vector<char> from(static_cast<std::size_t>(bytes), 1), to(static_cast<std::size_t>(bytes), 2);
  return time_threads(threads, [&](int thread) {
    const Part part = part_of(bytes, thread, threads);
    std::memcpy(to.data() + part.begin, from.data() + part.begin, static_cast<std::size_t>(part.end - part.begin));
  });
}

}  // namespace tally::bench
