#pragma once
#include <functional>
#include <thread>

namespace tally {

// Keeps SIGINT, SIGTERM and SIGUSR1 from this thread and those it starts. Call it before any thread starts: early_signals.hpp
// sees to those that libraries start before main().
void block_signals();

// Takes the signals. SIGUSR1 asks for a stop with a checkpoint (and may come more than once); SIGTERM and SIGINT end
// the process with 128 + signal, after what was installed with `on_termination` has saved what there is.
class SignalThread {
 public:
  // Ranks other than the root leave the last words to it: they wait half a minute before they end.
  explicit SignalThread(bool root);
  ~SignalThread();
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

 private:
  std::jthread thread_;
};

// Whether SIGUSR1 came.
bool stop_was_requested() noexcept;

// While it lives, SIGTERM and SIGINT run `save` on the signal thread before the process ends. One at a time.
class OnTermination {
 public:
  explicit OnTermination(std::function<void()> save);
  ~OnTermination();
  OnTermination(const OnTermination&) = delete;
  OnTermination& operator=(const OnTermination&) = delete;
};

}  // namespace tally
