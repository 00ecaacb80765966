#pragma once
#include <chrono>
#include <span>
#include <string>
#include <vector>

#include "algorithms/em_fit.hpp"
#include "comm/communicator.hpp"

namespace tally {

// Where the time of one iteration went on one rank, in seconds.
struct IterationTimes {
  double whole = 0;  // from one M-step's end to the next: the parts below, and checkpoints
  double read = 0;   // waiting for rows from files
  double compute = 0;
  double wait = 0;       // for ranks that came to a collective later
  double allreduce = 0;  // the collectives themselves
  double maximize = 0;
  double processor = 0;  // of the processor while it computed, all threads
};

struct RankTimes {
  std::string host;
  double start = 0;  // seconds until the first iteration: opening, reading, the first scan, start parameters
  std::vector<IterationTimes> iterations;
};

// Writes down where this rank's time goes; only `gather` talks to the other ranks.
class TimesRecorder {
 public:
  // The first iteration begins now.
  void begin();
  void iterated(const IterationReport& report);
  // Those of all ranks on rank 0, split into wait and allreduce; nothing elsewhere. Collective.
  std::vector<RankTimes> gather(Communicator& communicator) const;

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point made_ = Clock::now(), last_ = made_;
  RankTimes times_;
};

// Finds `wait` in `allreduce`, which holds both: in each iteration the rank that spent least in the collectives is taken for
// the one that came last and waited for nobody, so that its time is what they cost; what the others spent beyond that they waited.
void split_waiting(std::span<RankTimes> ranks);

// The file of `tally fit --times`, and what it holds; throws nlohmann::json::exception where it is not one.
std::string to_json(std::span<const RankTimes> ranks);
std::vector<RankTimes> times_of_json(const std::string& text);

}  // namespace tally
