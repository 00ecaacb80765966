#pragma once
#include <memory>
#include <mutex>
#include <string>

#include "core/io_executor.hpp"
#include "launch/model_file.hpp"
#include "launch/signals.hpp"

namespace tally {

// The model file of a job, the root's: the result, or the last complete parameters where SIGTERM or SIGINT comes first.
// Without a name it does nothing.
class ResultFile {
 public:
  ResultFile(IoExecutor& io, std::string name);

  // Finds out before the work whether it can be written. Throws DataError.
  void check() const;
  bool wanted() const noexcept { return !name_.empty(); }
  // What a signal saves from now on.
  void publish(ModelRecord record);
  // The result; a signal leaves it alone. Throws DataError.
  void save(const ModelRecord& record);

 private:
  void write(const ModelRecord& record) const;
  void save_unfinished();

  IoExecutor& io_;
  const std::string name_;
  std::mutex mutex_;
  std::shared_ptr<const ModelRecord> published_;
  const OnTermination on_termination_;
};

}  // namespace tally
