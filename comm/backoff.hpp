#pragma once
#include <chrono>
#include <thread>

#include <sched.h>

namespace tally {

// What a polling loop does between two looks: nothing at first, for a low latency; then it offers the core to others;
// after a millisecond it sleeps a little, so that ranks waiting on shared cores do not starve those that compute.
class Backoff {
 public:
  void pause() {
    using namespace std::chrono_literals;
    const auto waited = std::chrono::steady_clock::now() - start_;
    if (waited > 1ms) {
      std::this_thread::sleep_for(50us);
    } else if (waited > 20us) {
      ::sched_yield();
    }
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace tally
