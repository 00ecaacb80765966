#include "launch/cluster/supervisor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <thread>
#include <vector>

#include "core/error.hpp"

namespace tally {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::initializer_list<int> passed_on = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
constexpr auto between_looks = std::chrono::milliseconds(100);
constexpr auto until_killed = std::chrono::seconds(10);  // from SIGTERM to SIGKILL
constexpr auto until_given_up = std::chrono::seconds(10);  // from SIGKILL on

sigset_t set_of(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : signals) sigaddset(&set, number);
  return set;
}

// Those that this process was not started to ignore.
sigset_t taken_signals() {
  sigset_t set = set_of(passed_on);
  for (const int number : passed_on) {
    struct sigaction now {};
    if (sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_IGN) sigdelset(&set, number);
  }
  return set;
}

// The children of this process, those included that outlived their parents where it reaps for them.
std::vector<pid_t> children() {
  std::vector<pid_t> found;
  std::ifstream list("/proc/self/task/" + std::to_string(getpid()) + "/children");
  for (pid_t child = 0; list >> child;) found.push_back(child);
  return found;
}

// Ends what a command that was killed has left on this host: ranks that were stopped, or that ignore the end of mpirun. Returns
// those that SIGKILL does not end: in the midst of a call to a disk or a network file system a process ends when that answers.
std::vector<pid_t> end_orphans() {
  const auto deadline = Clock::now() + until_given_up;
  for (;;) {
    std::vector<pid_t> left;
    for (const pid_t child : children()) {
      kill(child, SIGKILL);
      if (waitpid(child, nullptr, WNOHANG) == 0) left.push_back(child);
    }
    if (Clock::now() > deadline) return left;
    if (left.empty() && children().empty()) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

// A child that leads a process group. Its destructor kills that group, and waits for the child unless that does not end.
class Child {
 public:
  // `output`: where its standard output goes; -1: where ours goes.
  Child(const StartLine& line, int output);
  ~Child() {
    if (running()) kill_group(SIGKILL);
    const auto deadline = Clock::now() + until_given_up;
    while (running() && Clock::now() < deadline) std::this_thread::sleep_for(between_looks);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool running() {
    if (id_ > 0 && waitpid(id_, &status_, WNOHANG) == id_) id_ = -1;
    return id_ > 0;
  }
  // Kills the group and forgets the child, which end_orphans() waits for.
  void abandon() {
    kill_group(SIGKILL);
    id_ = -1;
    status_ = SIGKILL;  // as though it had ended by it
  }
  int status() const { return WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_); }
  void signal(int number) const {
    if (id_ > 0) kill(id_, number);
  }
  void kill_group(int number) const {
    if (id_ > 0) kill(-id_, number);
  }

 private:
  pid_t id_ = -1;
  int status_ = 0;
};

Child::Child(const StartLine& line, int output) {
  std::vector<char*> words;
  for (const std::string& word : line.words) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  std::array<int, 2> report{};  // the child writes errno to it where it cannot begin
  if (pipe2(report.data(), O_CLOEXEC) != 0) throw UsageError(std::string("no pipe: ") + std::strerror(errno));
  const pid_t parent = getpid();
  id_ = fork();
  if (id_ == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(1);
    const sigset_t none = set_of({});
    sigprocmask(SIG_SETMASK, &none, nullptr);
    for (const auto& [name, value] : line.environment) setenv(name.c_str(), value.c_str(), 1);
    // Stopped for reading from a terminal that is not its own it would hang.
    if (const int nothing = open("/dev/null", O_RDONLY); nothing >= 0) dup2(nothing, STDIN_FILENO);
    if (output >= 0) dup2(output, STDOUT_FILENO);
    execvp(words.front(), words.data());
    const int error = errno;
    [[maybe_unused]] const auto written = write(report[1], &error, sizeof error);
    _exit(127);
  }
  close(report[1]);
  int error = id_ < 0 ? errno : 0;
  if (id_ > 0 && read(report[0], &error, sizeof error) == sizeof error) {
    waitpid(id_, &status_, 0);
    id_ = -1;
  }
  close(report[0]);
  if (error != 0)
    throw UsageError(line.words.front() + " cannot be started: " + std::strerror(error) +
                     "; is MPI's folder in PATH? --mpirun names another");
  setpgid(id_, id_);  // whoever comes first
}

std::string in_words(std::chrono::seconds time) { return std::to_string(time.count()) + " s"; }

// Why the job must be ended; empty where it need not.
std::string what_is_wrong(LifeLineWatch& watch, const Patience& patience) {
  const LifeLineWatch::State state = watch.look();
  const auto silence = watch.silence();
  switch (state) {
    case LifeLineWatch::State::waiting:
      return silence > patience.start ? "the ranks did not start within " + in_words(patience.start) : "";
    case LifeLineWatch::State::alive:
      return silence > patience.silence ? "rank 0 gave no sign of life for " + in_words(patience.silence) : "";
    case LifeLineWatch::State::ended:
      return silence > patience.end ? "it did not end within " + in_words(patience.end) + " after the job had" : "";
    case LifeLineWatch::State::lost:
      return silence > patience.end ? "rank 0 is gone, and it did not end within " + in_words(patience.end) : "";
  }
  return "";
}

}  // namespace

void block_signals_of_supervisor() {
  const sigset_t set = taken_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Ending supervise(const StartLine& line, LifeLineWatch& watch, const Patience& patience) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  Child child(line, -1);
  Ending ending;
  const sigset_t taken = taken_signals();
  const timespec wait{0, std::chrono::nanoseconds(between_looks).count()};
  Clock::time_point kill_at = Clock::time_point::max();
  bool stop_asked = false;  // not passed on before the ranks are there: SIGUSR1 ends a program that does not expect it
  const auto end_by_force = [&] {
    if (kill_at == Clock::time_point::max()) kill_at = Clock::now() + until_killed;
  };
  while (child.running()) {
    const int number = sigtimedwait(&taken, nullptr, &wait);
    if (number == SIGUSR1) ending.stop_requested = stop_asked = true;
    if (stop_asked && watch.look() != LifeLineWatch::State::waiting) {
      child.signal(SIGUSR1);
      stop_asked = false;
    }
    if (number > 0 && number != SIGUSR1) {
      child.signal(number == SIGHUP ? SIGTERM : number);
      ending.interrupted = true;
      end_by_force();
    }
    if (ending.killed_for.empty()) {
      ending.killed_for = what_is_wrong(watch, patience);
      if (!ending.killed_for.empty()) {
        child.signal(SIGTERM);
        end_by_force();
      }
    }
    if (Clock::now() > kill_at) child.abandon();
  }
  ending.status = child.status();
  ending.heard = watch.look() != LifeLineWatch::State::waiting;
  ending.job_status = watch.status();
  ending.left = end_orphans();
  return ending;
}

Output output_of(const StartLine& line, std::chrono::seconds at_most) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw UsageError(std::string("no pipe: ") + std::strerror(errno));
  Output output;
  auto deadline = Clock::now() + at_most;
  sigset_t taken = taken_signals();
  sigdelset(&taken, SIGUSR1);  // it waits for the job
  try {
    Child child(line, ends[1]);
    const auto in_time = [&] {
      const timespec at_once{};
      if (const int number = sigtimedwait(&taken, nullptr, &at_once); number > 0 && output.interrupted_by == 0) {
        output.interrupted_by = number;
        child.signal(SIGTERM);
        deadline = std::min(deadline, Clock::now() + until_killed);
      }
      return Clock::now() < deadline;
    };
    close(ends[1]);
    ends[1] = -1;
    std::array<char, 4096> bytes{};
    pollfd readable{ends[0], POLLIN, 0};
    while (in_time()) {
      if (poll(&readable, 1, 100) == 0) continue;
      const ssize_t count = read(ends[0], bytes.data(), bytes.size());
      if (count <= 0) break;
      output.text.append(bytes.data(), static_cast<std::size_t>(count));
    }
    while (child.running() && in_time()) std::this_thread::sleep_for(between_looks);
    output.in_time = !child.running() || output.interrupted_by > 0;
    if (child.running()) child.abandon();
    output.status = child.status();
  } catch (...) {
    for (const int end : ends)
      if (end >= 0) close(end);
    throw;
  }
  close(ends[0]);
  if (output.interrupted_by > 0 || output.status == 128 + SIGKILL) output.left = end_orphans();
  return output;
}

}  // namespace tally
