#pragma once
#include <algorithm>
#include <array>
#include <limits>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "core/backends/generic_lane.hpp"
#include "tests/unit/guarded_memory.hpp"
#include "tests/unit/late_stream.hpp"

namespace tally {

// The device of all LateLanes: what they have still to do.
class LateDevice {
 public:
  // Which of a lane's two streams is behind: the copies, so that a lane that does not wait for them finds what was
  // there before; or its work, so that copies which do not wait for it take its rows away.
  enum class Behind { copies, work };

  static LateDevice& instance() {
    static LateDevice device;
    return device;
  }
  // Of lanes made from here on.
  void choose(Behind behind) { behind_ = behind; }
  Behind behind() const { return behind_; }

  void synchronize() {
    const Turn turn;
    if (std::ranges::all_of(streams_, [](const LateStream* stream) { return stream->idle(); })) return;
    const Work work;
    for (LateStream* const stream : streams_) stream->finish();
  }
  void add(LateStream& stream) {
    const Turn turn;
    streams_.insert(&stream);
  }
  void remove(LateStream& stream) {
    const Work work;
    stream.finish();
    streams_.erase(&stream);
  }

  // While one lives the thread has the device for itself.
  class Turn {
    const std::lock_guard<std::recursive_mutex> lock_{instance().mutex_};
  };
  // And what was given may be done.
  class Work {
    const Turn turn_;
    const MemoryGuard::Work memory_;
  };

 private:
  std::recursive_mutex mutex_;
  std::set<LateStream*> streams_;
  Behind behind_ = Behind::copies;
};

template <class T>
using LateMemory = GuardedMemory<T, LateDevice>;

// A GenericLane on guarded memory that does nothing before it must, in the order that its waits and events leave open:
// who forgets one of them gets wrong results.
class LateLane : public GenericPrimitives<LateLane, LateMemory> {
 public:
  template <class T>
  using Memory = LateMemory<T>;

  LateLane() {
    LateDevice& device = LateDevice::instance();
    copies_.set_eager(device.behind() == LateDevice::Behind::work);
    device.add(work_);
    device.add(copies_);
  }
  ~LateLane() {
    LateDevice::instance().remove(copies_);
    LateDevice::instance().remove(work_);
  }
  LateLane(const LateLane&) = delete;
  LateLane& operator=(const LateLane&) = delete;

  void select_device() {}
  Index bytes_to_spare() { return std::numeric_limits<Index>::max(); }

  template <class Functor>
  void for_each(Index n, const Functor& f) {
    give([n, f] { GenericLane().for_each(n, f); });
  }
  template <class Kernel>
  void for_each_group(const Kernel& kernel) {
    give([kernel] { GenericLane().for_each_group(kernel); });
  }
  template <class Real>
  void multiply_nt(MatrixView<const Real> a, MatrixView<const Real> b, MatrixView<Real> c) {
    give([=, rounding = tf32()] { host(rounding).multiply_nt(a, b, c); });
  }
  template <class Real>
  void multiply_tn(MatrixView<const Real> a, MatrixView<const Real> b, Real beta, MatrixView<Real> c) {
    give([=, rounding = tf32()] { host(rounding).multiply_tn(a, b, beta, c); });
  }
  template <class T>
  void clear(T* values, Index count) {
    give([=] { std::fill_n(values, count, T{}); });
  }
  template <class T>
  void upload(const T* from, T* to, Index count) {
    copy(from, to, count);
  }
  template <class T>
  void download(const T* from, T* to, Index count) {
    copy(from, to, count);
  }
  void wait() {
    const LateDevice::Work working;
    work_.finish();
  }

  void begin_transfer(int place) {
    const LateDevice::Work working;
    copies_.wait_for(used_[static_cast<std::size_t>(place)]);
  }
  template <class T>
  void transfer(const T* from, T* to, Index count) {
    const LateDevice::Work working;
    copies_.give([values = std::vector<T>(from, from + count), to] { std::ranges::copy(values, to); });
  }
  void end_transfer() {
    const LateDevice::Turn turn;
    work_.wait_for(copies_.record());
  }
  void end_use(int place) {
    const LateDevice::Turn turn;
    used_[static_cast<std::size_t>(place)] = work_.record();
  }

 private:
  static GenericLane host(bool rounding) {
    GenericLane lane;
    if (rounding) lane.allow_tf32();
    return lane;
  }
  template <class Work>
  void give(Work work) {
    const LateDevice::Turn turn;
    work_.give(std::move(work));
  }
  // As CudaLane, which has nothing to wait for where there is nothing to copy.
  template <class T>
  void copy(const T* from, T* to, Index count) {
    if (count <= 0) return;
    const LateDevice::Work working;
    work_.finish();
    std::copy_n(from, count, to);
  }

  LateStream work_, copies_;
  std::array<LateStream::Event, 2> used_;
};

}  // namespace tally
