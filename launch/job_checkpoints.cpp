#include "launch/job_checkpoints.hpp"

#include <fmt/format.h>

#include <utility>

#include "comm/agreement.hpp"
#include "core/error.hpp"

namespace tally {

void JobCheckpoints::open(Progress& progress) {
  if (request_.checkpoint_folder.empty()) return;
  const CheckpointFolder folder(context_.io, request_.checkpoint_folder);
  folder.create();
  lock_ = std::make_unique<FolderLock>(request_.checkpoint_folder, FolderLock::Waiting{
      [this] { context_.communicator.pulse(); }, [&progress](const std::string& text) { progress.note(text); }});
  folder.remove_unfinished();
  if (!request_.resume) folder.check_unused();
}

std::optional<Checkpoint> JobCheckpoints::load(const FitSource& source, const std::string& options_hash,
                                               const std::vector<const Model*>& models, Progress* progress) {
  std::optional<Checkpoint> found;
  if (!request_.resume) return found;
  agree(context_.communicator, [&] {
    found = CheckpointFolder(context_.io, request_.checkpoint_folder).load_newest(damaged_);
    if (!found) return;
    if (found->record.fingerprint != source.fingerprint)
      throw DataError("the data have changed since the checkpoint in " + request_.checkpoint_folder +
                      "; resume with the same rows, weights, labels and lengths, or start afresh in another folder");
    if (found->options_hash != options_hash)
      throw UsageError("the checkpoint in " + request_.checkpoint_folder +
                       " is of a fit with another model, start, seed or precision; only the limits (--max-iter, --tol), what "
                       "is done with the result, and where and how it runs may change");
    check_states(*found, models, request_.restarts);
  });
  if (found)
    for (FitState& state : found->states) let_go_on(state, request_.fit, source.total_weight);
  const std::int64_t iteration = found ? found->iteration() : -1;
  // Every rank must resume from the same one, or from none.
  std::vector<std::int64_t> extremes = {iteration, -iteration};
  context_.communicator.sum_and_max({}, extremes);
  if (extremes[0] != -extremes[1])
    throw DataError("the ranks see different checkpoints in " + request_.checkpoint_folder +
                    "; it must be a folder that all hosts share");
  if (!progress) return found;
  for (const DamagedCheckpoint& damaged : damaged_) progress->warn("skipping a checkpoint: " + damaged.why);
  progress->note(found ? fmt::format("resuming after iteration {}", iteration)
                       : "no checkpoint in " + request_.checkpoint_folder + ": starting afresh");
  return found;
}

void JobCheckpoints::save(std::int64_t iteration, bool stopping, const std::function<Checkpoint()>& state) {
  if (request_.checkpoint_folder.empty()) return;
  if (!stopping && iteration % request_.checkpoint_every != 0) return;
  agree(context_.communicator, [&] {
    if (!context_.is_root()) return;
    CheckpointFolder::set_aside(std::exchange(damaged_, {}));
    CheckpointFolder(context_.io, request_.checkpoint_folder).save(state());
  });
}

}  // namespace tally
