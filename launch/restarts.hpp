#pragma once
#include <string>
#include <vector>

#include "launch/cluster/supervisor.hpp"

namespace tally {

// When `tally launch --max-restarts` starts a job again.
class Restarts {
 public:
  // At most so many. Throws UsageError where a restart, which adds --resume, would go on from another job's checkpoints.
  Restarts(int most, const std::vector<std::string>& job);

  int done() const noexcept { return done_; }
  // Whether a job that ended so, with this status, is started again. Says so, or that it is given up.
  bool another_after(const Ending& ending, int status);

 private:
  int most_, done_ = 0;
};

}  // namespace tally
