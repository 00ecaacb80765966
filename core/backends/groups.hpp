#pragma once
#include <array>
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
//   group.template combine<lanes>(member, op)
//                    with member(own) a reference: in each run of `lanes` threads every one receives all values, combined
//                    by op, which does not mind the order of its two arguments; always the same tree
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

 private:
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

// As many neighbours as a GPU moves at once.
template <class T, int count>
struct alignas(sizeof(T) * count) Pack {
  T values[count];
};

struct Plus {
  template <class T>
  TALLY_HD T operator()(T a, T b) const {
    return a + b;
  }
};

}  // namespace tally::generic
