#pragma once
#include <cstddef>
#include <span>
#include <string>

#include "core/view.hpp"

namespace tally {

// A file that appears under its name whole or not at all: written under a temporary name beside it and renamed by
// `commit`; destroyed before that, it is removed. An existing file of that name is replaced then and keeps its
// permissions; a symbolic link is followed. Every error is a DataError with the system's words.
class DurableFile {
 public:
  explicit DurableFile(const std::string& target);
  ~DurableFile();
  DurableFile(DurableFile&& other) noexcept;
  DurableFile& operator=(DurableFile&& other) noexcept;

  const std::string& target() const noexcept { return target_; }
  const std::string& temporary() const noexcept { return temporary_; }
  Index size() const;
  void write(std::span<const std::byte> bytes, Index offset);
  void resize(Index bytes);
  // Makes sure that the disk has room for [0, bytes) where the file system can promise that.
  void reserve(Index bytes);
  // Flushes to disk, renames, and syncs the folder.
  void commit();

 private:
  [[noreturn]] void fail() const;
  void discard() noexcept;

  std::string target_;
  std::string temporary_;  // empty: committed or moved from
  int descriptor_ = -1;
};

// Removes the temporaries of every DurableFile of this process: the last act before a process ends without unwinding.
void discard_temporaries() noexcept;

// Writes a file whole: a kill at any moment leaves the old file or the new one. Throws DataError.
void write_file_durably(const std::string& path, std::span<const std::byte> bytes);

}  // namespace tally
