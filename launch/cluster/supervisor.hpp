#pragma once
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "launch/cluster/life_line.hpp"
#include "launch/cluster/start_line.hpp"

namespace tally {

struct Patience {
  std::chrono::seconds start{300};    // until the job's first sign of life
  std::chrono::seconds silence{90};   // without one
  std::chrono::seconds end{15};       // from its last word, or the loss of it, until the command ends
};

// How a started command ended.
struct Ending {
  int status = 0;          // its exit status, or 128 and the signal that ended it
  std::string killed_for;  // why it had to be killed; empty where it ended by itself
  bool interrupted = false;  // SIGINT or SIGTERM asked for it
  bool stop_requested = false;  // SIGUSR1 asked for a stop
  bool heard = false;        // the job gave a sign of life
  std::optional<int> job_status;  // what the job said that it ends with
  std::vector<int> left;  // processes of it on this host that SIGKILL did not end
};

// Starts the command in a process group of its own and waits for it: passes SIGINT, SIGTERM, SIGHUP and, once the job has
// given a sign of life, SIGUSR1 on, and kills it where the job gives none any more, or where the command does not end after
// the job has; what is left of it on this host is ended, too, if it can be within ten seconds. Should this process be killed, the command gets SIGTERM. The
// calling thread must have blocked those signals. Those that this process was started to ignore, as nohup does with SIGHUP, are
// left alone. Throws UsageError where the command cannot be started.
Ending supervise(const StartLine& line, LifeLineWatch& watch, const Patience& patience);

// Runs a command to its end for its output; at most so long, and not much longer once SIGINT, SIGTERM or SIGHUP has come, which
// the calling thread must have blocked. What an unfinished one leaves on this host is ended. Throws UsageError where it cannot
// be started.
struct Output {
  int status = 0;
  int interrupted_by = 0;  // the signal; 0: none came
  bool in_time = true;  // it ended by itself, or was interrupted
  std::string text;
  std::vector<int> left;  // as of Ending
};
Output output_of(const StartLine& line, std::chrono::seconds at_most);

// The signals that `supervise` passes on.
void block_signals_of_supervisor();

}  // namespace tally
