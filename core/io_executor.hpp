#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

namespace tally {

// The one thread of a process that makes every HDF5 call: the library is not thread-safe. Jobs run in the order
// they came. Destruction runs what is queued and joins.
class IoExecutor {
 public:
  IoExecutor();
  ~IoExecutor();
  IoExecutor(const IoExecutor&) = delete;
  IoExecutor& operator=(const IoExecutor&) = delete;

  // Queues `job`, which must not throw.
  void post(std::function<void()> job);
  // Runs `job` on the executor's thread and waits. From a job itself it runs at once.
  template <class Job>
  auto run(Job job) -> std::invoke_result_t<Job> {
    if (std::this_thread::get_id() == thread_.get_id()) return job();
    using Result = std::invoke_result_t<Job>;
    Outcome<Result> outcome;
    auto kept = std::make_shared<Job>(std::move(job));
    post([kept, &outcome] { outcome.take(*kept); });
    kept.reset();  // so that what the job holds is destroyed on the executor's thread
    return outcome.get();
  }

 private:
  // A result on its way to the thread that waits for it. Not a std::future: that would leave the last reference to an
  // exception to either thread, where the thread sanitizer cannot follow it.
  template <class Result>
  class Outcome {
   public:
    template <class Job>
    void take(Job& job) {
      std::exception_ptr failure;
      try {
        if constexpr (std::is_void_v<Result>)
          job();
        else
          result_.emplace(job());
      } catch (...) {
        failure = std::current_exception();
      }
      const std::lock_guard lock(mutex_);
      failure_ = std::move(failure);
      finished_ = true;
      changed_.notify_one();
    }
    Result get() {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return finished_; });
      if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
      if constexpr (!std::is_void_v<Result>) return std::move(*result_);
    }

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool finished_ = false;
    std::exception_ptr failure_;
    std::conditional_t<std::is_void_v<Result>, bool, std::optional<Result>> result_{};
  };

  void work();

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> jobs_;
  bool closing_ = false;
  std::jthread thread_;  // last: starts when the rest exists
};

}  // namespace tally
