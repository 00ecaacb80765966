#include "core/io_executor.hpp"

#include "core/hdf5_handle.hpp"

namespace tally {
namespace {

// HDF5's state belongs to the process, so two executors in one process take turns.
std::mutex& library_mutex() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

IoExecutor::IoExecutor() : thread_([this] { work(); }) {}

IoExecutor::~IoExecutor() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  ready_.notify_one();
}

void IoExecutor::post(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  ready_.notify_one();
}

void IoExecutor::work() {
  {
    const std::lock_guard library(library_mutex());
    silence_hdf5();
  }
  std::unique_lock lock(mutex_);
  for (;;) {
    ready_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    {
      const std::lock_guard library(library_mutex());
      job();
      job = nullptr;  // what the job holds may close HDF5 handles
    }
    lock.lock();
  }
}

}  // namespace tally
