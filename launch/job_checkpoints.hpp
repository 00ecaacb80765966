#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/checkpoint.hpp"
#include "launch/context.hpp"
#include "launch/fit_inputs.hpp"
#include "launch/fit_rows.hpp"
#include "launch/folder_lock.hpp"
#include "launch/progress.hpp"

namespace tally {

// The checkpoints of one job: a folder of its own while it runs, what it goes on from and what it leaves. Without a folder
// it does nothing.
class JobCheckpoints {
 public:
  JobCheckpoints(const FitRequest& request, CommandContext& context) : request_(request), context_(context) {}

  // For the root, before any work: makes and locks the folder. Throws DataError or UsageError.
  void open(Progress& progress);

  // The newest whole checkpoint, the same on every rank, its states ready to go on; nothing where --resume was not asked for
  // or there is none yet. Throws DataError or UsageError: of other data, models or options. `progress`: the root's. Collective.
  std::optional<Checkpoint> load(const FitSource& source, const std::string& options_hash,
                                 const std::vector<const Model*>& models, Progress* progress);

  // Saves what `state` gives on the root where it is time to after so many iterations, or as a last word. Collective.
  void save(std::int64_t iteration, bool stopping, const std::function<Checkpoint()>& state);

 private:
  const FitRequest& request_;
  CommandContext& context_;
  std::unique_ptr<FolderLock> lock_;         // the root's
  std::vector<DamagedCheckpoint> damaged_;  // skipped, and in the way of the next one
};

}  // namespace tally
