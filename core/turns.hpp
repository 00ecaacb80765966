#pragma once
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

#include "core/error.hpp"
#include "core/view.hpp"

namespace tally {

// Work of several threads in which one piece needs the result of another: each is finished once, and waited for.
class Turns {
 public:
  explicit Turns(Index count) : finished_(static_cast<std::size_t>(count), 0) {}

  // All are to be finished again; nobody may be waiting.
  void restart() { std::fill(finished_.begin(), finished_.end(), 0); }

  void finish(Index turn) {
    const std::lock_guard lock(mutex_);
    finished_[static_cast<std::size_t>(turn)] = 1;
    changed_.notify_all();
  }
  // Throws Error where `hopeless` says that nobody will finish it any more.
  void wait_for(Index turn, const std::function<bool()>& hopeless) {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::milliseconds(5),
                              [&] { return finished_[static_cast<std::size_t>(turn)] != 0; }))
      if (hopeless()) throw Error("another thread failed");
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<char> finished_;
};

}  // namespace tally
