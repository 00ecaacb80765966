#pragma once
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/view.hpp"

// Kernels whose threads work in groups, written once for GPUs and for tests on the host. A group kernel states
//   threads          of a group, a multiple of 32
//   groups_at_once   on a multiprocessor of a GPU at least: together they have 65536 registers
//   Shared           what the threads of a group share
//   Own              what each keeps for itself: arrays in it are read at places that the compiler knows
//   groups()         how many groups there are
// both trivial types that nobody clears, and what one group does:
//   template <class Group> TALLY_HD void operator()(Index index, Group& group, Shared& shared) const;
// A group offers
//   group.each(f)    f(thread, own) for each thread, all done before it returns
//   group.each_alone(f)  the same where f reads what is shared and writes to its own alone: nobody waits
//   group.template combine<lanes>(member, op)
//                    with member(own) a reference: in each run of `lanes` threads every one receives all values, combined
//                    by op, which does not mind the order of its two arguments; always the same tree
//   group.multiply_tf32(a, b, c)
//                    with c(own) a reference: each 32 threads add the product of a (16, 8) and b (8, 8) to c (16, 8), as
//                    tensor cores do. a(own), b(own) and c(own) are 4, 2 and 4 floats, see TileOf; a and b come from
//                    to_tf32
// Between those calls a kernel computes only with what all threads of the group agree on, and writes nothing shared.
#if defined(__CUDACC__)
#define TALLY_UNROLL _Pragma("unroll")
#define TALLY_PRAGMA(words) _Pragma(#words)
#define TALLY_UNROLL_BY(count) TALLY_PRAGMA(unroll count)
#else
#define TALLY_UNROLL
#define TALLY_UNROLL_BY(count)
#endif

namespace tally::generic {

// The nearest number of TF32, a float with 10 bits of fraction; of two that are as near the larger in magnitude. Nobody
// reads the other 13 bits. GPUs older than compute capability 8.0 have no such numbers and are never asked for them.
TALLY_HD inline float to_tf32(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  __trap();
  return value;
#elif defined(__CUDA_ARCH__)
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return __uint_as_float(bits);
#else
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7F800000U) == 0x7F800000U) return value;  // infinity or NaN
  return std::bit_cast<float>((bits + 0x1000U) & 0xFFFFE000U);
#endif
}

// As many neighbours as a GPU moves at once.
template <class T, int count>
struct alignas(sizeof(T) * count) Pack {
  T values[count];
};

// Which numbers of a product's tiles a thread of 32 holds (PTX ISA, mma.m16n8k8 with .tf32), i of them:
// of a (16, 8) row a_row, column a_column; of b (8, 8) row b_row, column thread / 4; of c (16, 8) row c_row, column c_column.
struct TileOf {
  int thread;
  TALLY_HD int a_row(int i) const { return thread / 4 + i % 2 * 8; }
  TALLY_HD int a_column(int i) const { return thread % 4 + i / 2 * 4; }
  TALLY_HD int b_row(int i) const { return thread % 4 + i * 4; }
  TALLY_HD int b_column() const { return thread / 4; }
  TALLY_HD int c_row(int i) const { return thread / 4 + i / 2 * 8; }
  TALLY_HD int c_column(int i) const { return thread % 4 * 2 + i % 2; }
};

// One thread plays all threads of a group, now from the first on and now from the last, so that a test sees threads that
// read what another writes in the same call.
template <class Kernel>
class SerialGroup {
 public:
  using Own = typename Kernel::Own;
  static constexpr int threads = Kernel::threads;

  SerialGroup() { std::memset(own_.data(), 0xFF, sizeof own_); }

  template <class F>
  void each(const F& f) {
    order_ = order_ * 1664525 + 1013904223;  // a linear congruential generator: no call of a loop keeps its direction
    const bool backwards = order_ >> 31 != 0;
    for (int i = 0; i < threads; ++i) {
      const int thread = backwards ? threads - 1 - i : i;
      f(thread, own_[static_cast<std::size_t>(thread)]);
    }
  }

  template <int lanes, class Member, class Op>
  void combine(const Member& member, const Op& op) {
    static_assert(lanes <= 32 && threads % lanes == 0);
    using T = std::remove_reference_t<decltype(member(own_[0]))>;
    std::array<T, threads> before;
    for (std::size_t offset = lanes / 2; offset > 0; offset /= 2) {
      for (std::size_t i = 0; i < threads; ++i) before[i] = member(own_[i]);
      for (std::size_t i = 0; i < threads; ++i) member(own_[i]) = op(before[i], before[i ^ offset]);
    }
  }

  template <class F>
  void each_alone(const F& f) {
    each(f);
  }

  // Sums of exact products that are cut off after the bits of a float, as tensor cores cut them.
  template <class A, class B, class C>
  void multiply_tf32(const A& a, const B& b, const C& c) {
    for (std::size_t warp = 0; warp < threads; warp += 32) {
      float left[16][8], right[8][8];
      for (int thread = 0; thread < 32; ++thread) {
        const TileOf tile{thread};
        Own& own = own_[warp + static_cast<std::size_t>(thread)];
        const Pack<float, 4> of_left = a(own);
        const Pack<float, 2> of_right = b(own);
        for (int i = 0; i < 4; ++i) left[tile.a_row(i)][tile.a_column(i)] = cut(of_left.values[i]);
        for (int i = 0; i < 2; ++i) right[tile.b_row(i)][tile.b_column()] = cut(of_right.values[i]);
      }
      for (int thread = 0; thread < 32; ++thread) {
        const TileOf tile{thread};
        float(&sums)[4] = c(own_[warp + static_cast<std::size_t>(thread)]);
        for (int i = 0; i < 4; ++i) {
          double sum = sums[i];
          for (int k = 0; k < 8; ++k)
            sum += static_cast<double>(left[tile.c_row(i)][k]) * static_cast<double>(right[k][tile.c_column(i)]);
          sums[i] = towards_zero(sum);
        }
      }
    }
  }

 private:
  // Without the bits that TF32 does not have.
  static float cut(float value) { return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & 0xFFFFE000U); }
  static float towards_zero(double value) {
    const auto nearest = static_cast<float>(value);
    return std::abs(static_cast<double>(nearest)) > std::abs(value) ? std::nextafter(nearest, 0.0F) : nearest;
  }

  static_assert(threads % 32 == 0 && std::is_trivial_v<Own>);
  std::array<Own, threads> own_;
  std::uint32_t order_ = 1;
};

// Runs the i-th group of a group kernel on one thread.
template <class Kernel>
struct RunSerially {
  const Kernel& kernel;

  void operator()(Index i) const {
    static_assert(std::is_trivial_v<typename Kernel::Shared>);
    SerialGroup<Kernel> group;
    typename Kernel::Shared shared;
    std::memset(&shared, 0xFF, sizeof shared);
    kernel(i, group, shared);
  }
};

struct Plus {
  template <class T>
  TALLY_HD T operator()(T a, T b) const {
    return a + b;
  }
};

}  // namespace tally::generic
