#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "algorithms/em_fit.hpp"
#include "core/io_executor.hpp"
#include "launch/model_file.hpp"

namespace tally {

// A model file that also holds the loop's whole state. It does not know the number of ranks.
struct Checkpoint {
  ModelRecord record;
  std::vector<FitState> states;  // of each model that is fitted, as a rule one
  std::string options_hash;  // of what must not change on the way: model, data, start, seed, precision

  // E-steps done.
  std::int64_t iteration() const;
};

// Whether a checkpoint's states are states of these models, with so many starts each and sequences cut where they are now.
// Throws DataError.
void check_states(const Checkpoint& checkpoint, const std::vector<const Model*>& models, int restarts);

// One that is not as it was written.
struct DamagedCheckpoint {
  std::string file, why;
};

// A folder of checkpoints of one fit. The two newest are kept; each is complete or absent. No file of another name is touched.
class CheckpointFolder {
 public:
  CheckpointFolder(IoExecutor& io, std::string folder) : io_(io), folder_(std::move(folder)) {}

  // Makes the folder and checks that it can be written to. Throws DataError.
  void create() const;
  // Removes what a killed fit left half written; for who holds the folder's lock.
  void remove_unfinished() const;
  // For a fit that does not go on from checkpoints. Throws UsageError where there are some; DataError: it cannot be listed.
  void check_unused() const;
  // Keeps the one before it, too. Throws DataError.
  void save(const Checkpoint& checkpoint) const;
  // The newest one that is whole, past damaged ones that are newer; nothing where there are no files. Throws DataError where
  // none is whole, and where one cannot be read, which may well be whole.
  std::optional<Checkpoint> load_newest(std::vector<DamagedCheckpoint>& damaged) const;
  // Renames them, so that they are neither read nor removed any more; for who holds the folder's lock. Throws DataError.
  static void set_aside(const std::vector<DamagedCheckpoint>& damaged);

 private:
  struct File {
    std::int64_t number;
    std::string path;
  };
  std::vector<File> files() const;  // newest first
  std::string path_of(std::int64_t number) const;

  IoExecutor& io_;
  std::string folder_;
};

}  // namespace tally
