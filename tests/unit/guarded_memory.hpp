#pragma once
#include <algorithm>
#include <cstddef>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include "core/view.hpp"

namespace tally {

// Makes host memory behave like a device's: it can be touched only while the device works, so that a host that reads or
// writes it crashes the test.
class MemoryGuard {
 public:
  static MemoryGuard& instance() {
    static MemoryGuard guard;
    return guard;
  }
  void* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    void* made = mmap(nullptr, bytes, access(), MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) throw std::bad_alloc();
    regions_.emplace_back(made, bytes);
    return made;
  }
  void free(void* address) {
    const std::lock_guard lock(mutex_);
    const auto found =
        std::find_if(regions_.begin(), regions_.end(), [&](auto& r) { return r.first == address; });
    munmap(found->first, found->second);
    regions_.erase(found);
  }

  // While one lives, the memory is open.
  class Work {
   public:
    Work() { instance().change(+1); }
    ~Work() { instance().change(-1); }
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;
  };

 private:
  int access() const { return working_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE; }
  void change(int step) {
    const std::lock_guard lock(mutex_);
    const bool was_open = working_ > 0;
    working_ += step;
    if (was_open == (working_ > 0)) return;
    for (const auto& [address, bytes] : regions_) mprotect(address, bytes, access());
  }

  std::mutex mutex_;
  std::vector<std::pair<void*, std::size_t>> regions_;
  int working_ = 0;
};

// Before memory is given back Device::instance().synchronize() is called, as cudaFree does.
template <class T, class Device>
class GuardedMemory {
 public:
  GuardedMemory() = default;
  GuardedMemory(GuardedMemory&& other) noexcept
      : values_(std::exchange(other.values_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  GuardedMemory& operator=(GuardedMemory&& other) noexcept {
    std::swap(values_, other.values_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~GuardedMemory() {
    if (!values_) return;
    Device::instance().synchronize();
    MemoryGuard::instance().free(values_);
  }
  void reserve(Index count) {
    if (count <= count_) return;
    *this = GuardedMemory();
    values_ = static_cast<T*>(MemoryGuard::instance().allocate(static_cast<std::size_t>(count) * sizeof(T)));
    count_ = count;
  }
  T* data() { return values_; }
  Index bytes() const noexcept { return count_ * static_cast<Index>(sizeof(T)); }

 private:
  T* values_ = nullptr;
  Index count_ = 0;
};

}  // namespace tally
