#include "launch/folder_lock.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "comm/host_name.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto between_attempts = std::chrono::milliseconds(50);
constexpr auto until_a_process_has_ended = std::chrono::seconds(5);
constexpr auto until_a_lost_host_is_forgotten = std::chrono::seconds(120);  // NFS 4 takes 90

// Who has the lock, as it signed.
struct Holder {
  std::string host, process;

  std::string words() const {
    return host.empty() ? "another job" : fmt::format("process {} on {}", process, host);
  }
};

Holder holder_of(const std::string& file) {
  Holder holder;
  std::ifstream(file) >> holder.host >> holder.process;
  return holder;
}

}  // namespace

FolderLock::FolderLock(const std::string& folder, const Waiting& waiting) : file_(folder + "/lock") {
  const auto start = Clock::now();
  for (bool told = false;; told = true) {
    const Attempt result = attempt();
    if (result == Attempt::taken) break;
    if (result == Attempt::impossible) {
      waiting.note(fmt::format("warning: {} cannot be locked ({}): see to it that no other job uses {}", file_,
                               std::strerror(errno), folder));
      return;
    }
    const Holder holder = holder_of(file_);
    const bool elsewhere = !holder.host.empty() && holder.host != local_host_name();
    const auto patience = elsewhere ? until_a_lost_host_is_forgotten : until_a_process_has_ended;
    if (Clock::now() - start > patience)
      throw Error(fmt::format("{} is in use by {}; give each job a folder of its own", folder, holder.words()));
    if (!told)
      waiting.note(fmt::format("{} is in use by {}: waiting {} s for its end", folder, holder.words(), patience.count()));
    waiting.pulse();
    std::this_thread::sleep_for(between_attempts);
  }
  sign();
}

// Removed, so that only jobs that were killed leave it.
FolderLock::~FolderLock() {
  if (descriptor_ < 0) return;
  unlink(file_.c_str());
  close(descriptor_);
}

FolderLock::Attempt FolderLock::attempt() {
  const int descriptor = open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) throw DataError(file_ + " cannot be written: " + std::strerror(errno));
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  int error = fcntl(descriptor, F_OFD_SETLK, &whole) == 0 ? 0 : errno;
  struct stat locked {}, named {};
  // Whoever had it before may have removed the file since it was opened here.
  if (error == 0 && (fstat(descriptor, &locked) != 0 || stat(file_.c_str(), &named) != 0 || locked.st_ino != named.st_ino))
    error = EAGAIN;
  if (error == 0) {
    descriptor_ = descriptor;
    return Attempt::taken;
  }
  close(descriptor);
  errno = error;
  return error == EAGAIN || error == EACCES ? Attempt::held : Attempt::impossible;
}

// For those who find it locked.
void FolderLock::sign() const {
  const std::string words = fmt::format("{} {}\n", local_host_name(), getpid());
  if (ftruncate(descriptor_, 0) != 0 || pwrite(descriptor_, words.data(), words.size(), 0) < 0) return;  // a full disk
  fsync(descriptor_);
}

}  // namespace tally
