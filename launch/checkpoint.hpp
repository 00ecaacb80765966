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
  FitState state;
  std::string options_hash;  // of what must not change on the way: model, data, start, seed, precision
};

// A folder of checkpoints of one fit. The two newest are kept; each is complete or absent.
class CheckpointFolder {
 public:
  CheckpointFolder(IoExecutor& io, std::string folder) : io_(io), folder_(std::move(folder)) {}

  // Makes the folder and checks that it can be written to. Throws DataError.
  void create() const;
  // Removes what a killed fit left half written; for who holds the folder's lock.
  void remove_unfinished() const;
  bool empty() const;
  // Keeps the one before it, too. Throws DataError.
  void save(const Checkpoint& checkpoint) const;
  // The newest one that is whole, or nothing; words about skipped ones are appended to `notes`.
  std::optional<Checkpoint> load_newest(std::vector<std::string>& notes) const;

 private:
  std::vector<std::string> files() const;  // newest first

  IoExecutor& io_;
  std::string folder_;
};

}  // namespace tally
