#pragma once
#include <functional>
#include <string>

namespace tally {

// Keeps other jobs out of a folder: a lock on the file `lock` in it. However a process ends, the system lets go of its locks.
class FolderLock {
 public:
  struct Waiting {
    std::function<void()> pulse;                         // called all the time
    std::function<void(const std::string&)> note;        // says what the user should know
  };
  // Waits a little for a job that is ending, longer for one on another host, which may have been lost. Where the file system
  // has no locks, there is none, and a note says so. Throws DataError where it cannot be written, and where another job has it
  // an Error of no kind: that may be over soon.
  FolderLock(const std::string& folder, const Waiting& waiting);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  enum class Attempt { taken, held, impossible };
  Attempt attempt();
  void sign() const;

  std::string file_;
  int descriptor_ = -1;
};

}  // namespace tally
