// What becomes of a job that waits for a sum on devices when its last rank is in trouble; the devices are fakes.
//   device_wait_test          the same as 'good'
//   device_wait_test good     all goes well: exit status 0
//   device_wait_test slow     it works for three timeouts, with pulses: the same
//   device_wait_test turns    first it and then one rank after another is slow: the same
//   device_wait_test busy     its device computes for three timeouts: the same
//   device_wait_test start    its device refuses the sum: exit status 4
//   device_wait_test lost     its device fails while the sum is pending: exit status 4
//   device_wait_test stuck    its device never joins the sum: exit status 5 once nobody got on for the timeout
//   device_wait_test elsewhere   it waits in a barrier instead: the same
//   device_wait_test left     it ends as if all were done: exit status 5
//   device_wait_test silent   it stands still: exit status 5
//   device_wait_test killed   it kills itself: not 0; 5 where the launcher does not end the others
// With a folder as second argument each rank that failed writes "told: MESSAGE" or "own: MESSAGE" to FOLDER/RANK.
// Exit status 1 where a rank did not abort its sum or took too long.
#include "comm/device_wait.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "comm/agreement.hpp"
#include "comm/mpi_communicator.hpp"
#include "comm/mpi_session.hpp"
#include "core/error.hpp"
#include "tests/unit/fake_device_sum.hpp"

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds timeout = 2s;
constexpr auto longest_notice = 4 * timeout;  // generous: the machine may be busy
constexpr std::size_t length = 1000;

// Memory that the ranks of this host share: a file that rank 0 makes and names to the others.
class SharedMemory {
 public:
  explicit SharedMemory(tally::Communicator& comm) : bytes_(tally::SharedSums::bytes(comm.size(), length)) {
    std::array<char, 128> name{};
    tally::share_id(
        std::as_writable_bytes(std::span(name)), [this](std::span<std::byte> id) { make(id); }, comm);
    tally::agree(comm, [&] { map(name.data()); });
    if (comm.rank() == 0) ::unlink(name.data());
  }
  ~SharedMemory() { ::munmap(memory_, bytes_); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void* data() const { return memory_; }

 private:
  void make(std::span<std::byte> id) const {
    const std::string pattern = "/tmp/tally-fake-devices-XXXXXX";
    auto* name = reinterpret_cast<char*>(id.data());
    pattern.copy(name, pattern.size());
    const int file = ::mkstemp(name);
    if (file < 0 || ::ftruncate(file, static_cast<off_t>(bytes_)) != 0)
      throw tally::Error("no memory to share");
    ::close(file);
  }
  void map(const char* name) {
    const int file = ::open(name, O_RDWR);
    memory_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || memory_ == MAP_FAILED) throw tally::Error("no memory to share");
    ::close(file);
  }

  std::size_t bytes_;
  void* memory_ = nullptr;
};

bool is_troubled(const tally::Communicator& comm) {
  return comm.rank() == comm.size() - 1;
}

void work(tally::Communicator& comm, std::chrono::milliseconds time) {
  for (const auto start = std::chrono::steady_clock::now();
       std::chrono::steady_clock::now() - start < time;) {
    std::this_thread::sleep_for(50ms);
    comm.pulse();
  }
}

void be_in_trouble(tally::Communicator& comm, const std::string& mode) {
  if (mode == "slow") work(comm, 3 * timeout);
  if (mode == "elsewhere") comm.barrier();
  if (mode == "silent") std::this_thread::sleep_for(60s);
  if (mode == "killed") std::raise(SIGKILL);
}

// Three sums, trouble, and a last one.
void run(tally::Communicator& comm, const std::string& mode, bool& aborted) {
  const SharedMemory memory(comm);
  const tally::SharedSums sums(memory.data(), comm.size(), length);
  std::vector<std::int64_t> values(length);
  tally::FakeDeviceFaults faults;
  for (int round = 0; round < 4; ++round) {
    if (mode == "turns" && comm.rank() == (comm.size() - 1 + round) % comm.size()) work(comm, 2 * timeout);
    const bool in_trouble = round == 3 && is_troubled(comm);
    if (in_trouble) {
      be_in_trouble(comm, mode);
      if (mode == "left") return;
      faults = {.computing = mode == "busy" ? 3 * timeout : 0ms,
                .start_fails = mode == "start",
                .poll_fails = mode == "lost",
                .never_ends = mode == "lost" || mode == "stuck"};
    }
    for (std::size_t i = 0; i < length; ++i) values[i] = static_cast<std::int64_t>(i) * round + comm.rank();
    tally::FakeDeviceSum sum(values, sums, comm.rank(), faults);
    try {
      tally::wait_for(sum, comm);
    } catch (...) {
      aborted = sum.aborted();
      throw;
    }
    const std::int64_t n = comm.size();
    for (std::size_t i = 0; i < length; ++i)
      if (values[i] != static_cast<std::int64_t>(i) * round * n + n * (n - 1) / 2)
        throw tally::Error("a wrong sum");
  }
  comm.barrier();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "good";
  const std::string folder = argc > 2 ? argv[2] : "";
  ::alarm(100);  // a defect shall leave no process behind
  tally::MpiSession session;
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  bool aborted = false;
  const auto start = std::chrono::steady_clock::now();
  const auto note = [&](const std::string& line) {
    if (!folder.empty()) std::ofstream(folder + "/" + std::to_string(rank)) << line;
  };
  try {
    tally::MpiCommunicator comm(MPI_COMM_WORLD, {.timeout = timeout});
    run(comm, mode, aborted);
    return 0;
  } catch (const tally::Error& error) {
    // A rank that waits elsewhere has no sum to abort.
    const bool has_sum = mode != "elsewhere" ||
                         std::string(error.what()).find("waits in barrier") == std::string::npos || aborted;
    const bool in_time = std::chrono::steady_clock::now() - start < longest_notice;
    const bool told = dynamic_cast<const tally::RelayedFailure*>(&error) != nullptr;
    note((told ? "told: " : "own: ") + std::string(error.what()));
    if (!in_time || (!aborted && has_sum)) {
      std::fprintf(stderr, "rank %d %s: %s\n", rank, in_time ? "did not abort its sum" : "took too long", error.what());
      session.abort(1);
    }
    if (!told) std::fprintf(stderr, "error: %s\n", error.what());
    std::this_thread::sleep_for(told ? 10s : 1s);  // the rank whose error it is ends the job
    session.abort(static_cast<int>(error.kind()));
  }
}
