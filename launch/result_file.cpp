#include "launch/result_file.hpp"

#include <utility>

#include "core/archive.hpp"
#include "core/durable_file.hpp"
#include "core/last_words.hpp"

namespace tally {

ResultFile::ResultFile(IoExecutor& io, std::string name)
    : io_(io), name_(std::move(name)), on_termination_([this] { save_unfinished(); }) {}

void ResultFile::check() const {
  if (wanted()) const DurableFile probe(name_);
}

void ResultFile::publish(ModelRecord record) {
  auto published = std::make_shared<const ModelRecord>(std::move(record));
  const std::lock_guard lock(mutex_);
  published_ = std::move(published);
}

void ResultFile::save(const ModelRecord& record) {
  if (!wanted()) return;
  const std::lock_guard lock(mutex_);
  write(record);
  published_ = nullptr;
}

void ResultFile::write(const ModelRecord& record) const {
  ArchiveWriter archive(io_);
  write_record(archive, record);
  archive.save(name_);
}

void ResultFile::save_unfinished() {
  const std::lock_guard lock(mutex_);
  if (!published_) return;
  write(*published_);
  last_words("tally: wrote the last completed parameters to " + name_ + ", marked unfinished\n");
}

}  // namespace tally
