#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <utility>

namespace tally {

// Work that is done in the order in which it was given, and none of it before somebody waits: the worst that a stream of
// a GPU may do. One that is eager does all at once and makes those it waits for do theirs: the worst for whoever still
// reads what it writes.
class LateStream {
 public:
  // That the stream has done what it was given until now. One that nobody recorded has passed.
  struct Event {
    LateStream* stream = nullptr;
    std::int64_t count = 0;
    void wait() const {
      if (stream) stream->run_until(count);
    }
  };

  void set_eager(bool eager) { eager_ = eager; }
  void give(std::function<void()> work) {
    work_.push_back(std::move(work));
    ++given_;
    if (eager_) finish();
  }
  Event record() { return {this, given_}; }
  // What is given from here on comes after the event.
  void wait_for(Event event) {
    give([event] { event.wait(); });
  }
  void finish() { run_until(given_); }
  bool idle() const { return done_ == given_; }

 private:
  void run_until(std::int64_t count) {
    while (done_ < count) {
      const std::function<void()> work = std::move(work_.front());
      work_.pop_front();
      work();
      ++done_;
    }
  }

  std::deque<std::function<void()>> work_;
  std::int64_t given_ = 0, done_ = 0;
  bool eager_ = false;
};

}  // namespace tally
