#pragma once
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace tally {

// A connection by which `tally launch` knows that the job it started is alive: mpirun may hang when its own host is cut off
// from the ranks, or when a rank dies at a bad moment, and only who started it can end it.
inline constexpr const char* life_line_variable = "TALLY_LIFE_LINE";  // "address,address:port:seconds:token"

// The launcher's end.
class LifeLineWatch {
 public:
  // Listens; at the loopback address alone where the job is `local`. The job ends itself where it cannot be heard for
  // `patience`. Throws CommunicationError.
  LifeLineWatch(bool local, std::chrono::seconds patience);
  ~LifeLineWatch();
  LifeLineWatch(const LifeLineWatch&) = delete;
  LifeLineWatch& operator=(const LifeLineWatch&) = delete;

  // What the ranks need to connect.
  const std::string& where() const noexcept { return where_; }

  enum class State { waiting, alive, ended, lost };
  // Takes what arrived meanwhile. `waiting`: not connected yet; `ended`: the job said that it ends; `lost`: the connection
  // broke without a word.
  State look();
  // What the job said, when it ended, that it ends with.
  std::optional<int> status() const noexcept { return status_; }
  // Since the last sign of life, or since the watch began.
  std::chrono::steady_clock::duration silence() const;

 private:
  struct Newcomer {
    int connection;
    std::string said;
  };
  void meet_newcomers();

  int listening_ = -1, connection_ = -1;
  std::vector<Newcomer> newcomers_;
  std::string where_, token_;
  State state_ = State::waiting;
  std::optional<int> status_;
  std::chrono::steady_clock::time_point last_;
};

// The job's end, on rank 0: beats once a second until it is destroyed. Where the launcher is gone, or has not been reached for
// as long as it waits, it has given the job up, whose ranks may not know: this process gets SIGTERM. Does nothing where no
// launcher waits for it.
class LifeLine {
 public:
  // Throws CommunicationError where the launcher cannot be reached: it would kill the job after minutes.
  LifeLine();
  ~LifeLine();
  LifeLine(const LifeLine&) = delete;
  LifeLine& operator=(const LifeLine&) = delete;

  // The exit status, for the last word.
  void ends_with(int status) noexcept { status_ = status; }

 private:
  int status_ = 1;
  int connection_ = -1;
  std::jthread beat_;
};

}  // namespace tally
