#include "core/durable_file.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.hpp"

namespace tally {
namespace {

[[noreturn]] void throw_system_error(const std::string& file, int error) {
  throw DataError(file + " cannot be written: " + std::generic_category().message(error));
}

std::string follow_links(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> resolved(realpath(path.c_str(), nullptr), &std::free);
  return resolved ? resolved.get() : path;
}

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string random_suffix() {
  std::random_device device;
  char text[16];
  std::snprintf(text, sizeof text, ".tmp-%08x", static_cast<unsigned>(device()));
  return text;
}

// A crash after this cannot bring the old name back. Some file systems cannot sync a folder and say EINVAL.
void sync_folder(const std::string& target) {
  const int folder = open(folder_of(target).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) {
    if (errno == EACCES) return;  // a folder that may be written but not listed
    throw_system_error(target, errno);
  }
  const int error = fsync(folder) == 0 ? 0 : errno;
  close(folder);
  if (error != 0 && error != EINVAL && error != ENOTSUP) throw_system_error(target, error);
}

// The temporaries that exist now, for a process that must end without unwinding.
struct Temporaries {
  std::mutex mutex;
  std::set<std::string> names;
};

Temporaries& temporaries() {
  static Temporaries instance;
  return instance;
}

void remember(const std::string& name) {
  const std::lock_guard lock(temporaries().mutex);
  temporaries().names.insert(name);
}

void forget(const std::string& name) {
  const std::lock_guard lock(temporaries().mutex);
  temporaries().names.erase(name);
}

}  // namespace

void discard_temporaries() noexcept {
  const std::lock_guard lock(temporaries().mutex);
  for (const std::string& name : temporaries().names) unlink(name.c_str());
}

DurableFile::DurableFile(const std::string& target) : target_(target) {
  if (target.empty()) throw DataError("the name of a file to write is empty");
  const auto real = follow_links(target);
  struct stat existing {};
  const bool replaces = stat(real.c_str(), &existing) == 0;
  if (replaces) {
    if (S_ISDIR(existing.st_mode)) throw DataError(target + " cannot be written: it is a folder");
    if (!S_ISREG(existing.st_mode)) throw DataError(target + " cannot be written: it is no regular file");
    if (access(real.c_str(), W_OK) != 0) fail();
  }
  do {
    temporary_ = real + random_suffix();
    descriptor_ = open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EEXIST);
  if (descriptor_ < 0) {
    const int error = errno;
    temporary_.clear();
    const auto folder = folder_of(target);
    if (error == ENOENT || error == ENOTDIR) throw DataError(target + " cannot be written: there is no folder " + folder);
    throw_system_error(target, error);
  }
  remember(temporary_);
  if (replaces && fchmod(descriptor_, existing.st_mode & 07777) != 0) {
    const int error = errno;
    discard();
    throw_system_error(target, error);
  }
}

DurableFile::~DurableFile() {
  discard();
}

DurableFile::DurableFile(DurableFile&& other) noexcept
    : target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

DurableFile& DurableFile::operator=(DurableFile&& other) noexcept {
  if (this != &other) {
    discard();
    target_ = std::move(other.target_);
    temporary_ = std::exchange(other.temporary_, {});
    descriptor_ = std::exchange(other.descriptor_, -1);
  }
  return *this;
}

Index DurableFile::size() const {
  struct stat info {};
  if (fstat(descriptor_, &info) != 0) fail();
  return info.st_size;
}

void DurableFile::write(std::span<const std::byte> bytes, Index offset) {
  while (!bytes.empty()) {
    const auto written = pwrite(descriptor_, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail();
    if (written == 0) throw_system_error(target_, ENOSPC);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += written;
  }
}

void DurableFile::resize(Index bytes) {
  while (ftruncate(descriptor_, bytes) != 0)
    if (errno != EINTR) fail();
}

void DurableFile::reserve(Index bytes) {
  if (bytes <= 0) return;
  while (fallocate(descriptor_, 0, 0, bytes) != 0) {
    if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL || errno == EPERM) return;
    if (errno != EINTR) fail();
  }
}

void DurableFile::commit() {
  if (fsync(descriptor_) != 0) fail();
  // A network file system may report a full disk only when the file is closed.
  if (close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) fail();
  std::string real = temporary_.substr(0, temporary_.rfind(".tmp-"));
  if (rename(temporary_.c_str(), real.c_str()) != 0) fail();
  forget(temporary_);
  temporary_.clear();
  sync_folder(real);
}

void DurableFile::fail() const {
  throw_system_error(target_, errno);
}

void DurableFile::discard() noexcept {
  if (descriptor_ >= 0) close(std::exchange(descriptor_, -1));
  if (!temporary_.empty()) {
    unlink(temporary_.c_str());
    forget(temporary_);
  }
  temporary_.clear();
}

void write_file_durably(const std::string& path, std::span<const std::byte> bytes) {
  DurableFile file(path);
  file.write(bytes, 0);
  file.commit();
}

}  // namespace tally
