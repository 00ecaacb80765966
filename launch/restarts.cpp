#include "launch/restarts.hpp"

#include <fmt/format.h>

#include "core/error.hpp"
#include "core/io_executor.hpp"
#include "launch/checkpoint.hpp"
#include "launch/context.hpp"
#include "launch/job_words.hpp"
#include "launch/launch_lines.hpp"

namespace tally {
namespace {

// What went wrong with the words or the data would go wrong again, and who asked for a stop wants one.
bool worth_a_restart(int status) {
  return status != 0 && status != static_cast<int>(ErrorKind::usage) && status != static_cast<int>(ErrorKind::data) &&
         status != status_stopped_on_request;
}

}  // namespace

Restarts::Restarts(int most, const std::vector<std::string>& job) : most_(most) {
  if (most == 0 || resumes(job)) return;
  IoExecutor io;
  CheckpointFolder(io, value_of(job, "--checkpoint")).check_unused();
}

bool Restarts::another_after(const Ending& ending, int status) {
  if (ending.interrupted || ending.stop_requested || !worth_a_restart(status)) return false;
  if (done_ == most_) {
    if (most_ > 0) note(fmt::format("gave up after {} restarts", done_));
    return false;
  }
  ++done_;
  note(fmt::format("the job ended with status {}: restart {} of {} from its last checkpoint", status, done_, most_));
  return true;
}

}  // namespace tally
