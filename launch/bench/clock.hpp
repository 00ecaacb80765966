#pragma once
#include <chrono>
#include <ctime>

namespace tally::bench {

// Time that passed, and processor time of all threads of this process. On a machine that others use too, the second
// says what a computation costs and the first how long one waits for it.
struct Seconds {
  double wall = 0;
  double processor = 0;
};

inline Seconds now() {
  timespec spent{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
  return {std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(),
          static_cast<double>(spent.tv_sec) + 1e-9 * static_cast<double>(spent.tv_nsec)};
}

inline Seconds operator-(const Seconds& a, const Seconds& b) { return {a.wall - b.wall, a.processor - b.processor}; }

}  // namespace tally::bench
