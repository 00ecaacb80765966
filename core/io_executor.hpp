#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
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

  // Queues `job`; the future gives its result or its exception.
  template <class Job>
  auto submit(Job job) -> std::future<std::invoke_result_t<Job>> {
    auto task = std::make_shared<std::packaged_task<std::invoke_result_t<Job>()>>(std::move(job));
    auto result = task->get_future();
    post([task] { (*task)(); });
    return result;
  }
  // Runs `job` on the executor's thread and waits. From a job itself it runs at once.
  template <class Job>
  auto run(Job job) -> std::invoke_result_t<Job> {
    if (std::this_thread::get_id() == thread_.get_id()) return job();
    return submit(std::move(job)).get();
  }

 private:
  void post(std::function<void()> job);
  void work();

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> jobs_;
  bool closing_ = false;
  std::jthread thread_;  // last: starts when the rest exists
};

}  // namespace tally
