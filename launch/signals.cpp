#include "launch/signals.hpp"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <string>

#include "core/durable_file.hpp"
#include "core/last_words.hpp"

namespace tally {
namespace {

// The process has one disposition of signals, so this state is the process's, too.
struct SignalState {
  std::atomic<bool> stop_requested = false;
  std::mutex mutex;
  std::function<void()> save;
};

SignalState& state() {
  static SignalState instance;
  return instance;
}

sigset_t taken_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGUSR1}) sigaddset(&set, number);
  return set;
}

[[noreturn]] void terminate_on(int number, bool root) {
  if (!root) std::this_thread::sleep_for(std::chrono::seconds(30));
  const std::lock_guard lock(state().mutex);
  if (root) {
    // Words may have to wait for their reader, and who sent the signal may wait no longer than for this.
    try {
      if (state().save) state().save();
    } catch (const std::exception& error) {
      last_words(std::string("tally: error: nothing was saved: ") + error.what() + "\n");
    }
    last_words(number == SIGINT ? "tally: interrupted\n" : "tally: terminated\n");
  }
  discard_temporaries();
  _exit(128 + number);
}

// It ends a process unless a supervisor takes it.
void let_hangup_through() {
  sigset_t hangup;
  sigemptyset(&hangup);
  sigaddset(&hangup, SIGHUP);
  pthread_sigmask(SIG_UNBLOCK, &hangup, nullptr);
}

}  // namespace

void block_signals() {
  const sigset_t set = taken_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  let_hangup_through();
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a full quota is an error of write, not a death
}

SignalThread::SignalThread(bool root)
    : thread_([root](const std::stop_token& stopping) {
        const sigset_t set = taken_signals();
        const timespec patience{0, 100'000'000};
        while (!stopping.stop_requested()) {
          const int number = sigtimedwait(&set, nullptr, &patience);
          if (number == SIGUSR1) state().stop_requested = true;
          if (number == SIGINT || number == SIGTERM) terminate_on(number, root);
        }
      }) {}

SignalThread::~SignalThread() = default;

bool stop_was_requested() noexcept { return state().stop_requested; }

OnTermination::OnTermination(std::function<void()> save) {
  const std::lock_guard lock(state().mutex);
  state().save = std::move(save);
}

OnTermination::~OnTermination() {
  const std::lock_guard lock(state().mutex);
  state().save = nullptr;
}

}  // namespace tally
