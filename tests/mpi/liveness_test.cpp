// What becomes of a job when one of its ranks, the last, is in trouble. Under mpirun on two ranks or more:
//   liveness_test          the same as 'slow'
//   liveness_test slow     it works for three timeouts, with pulses: everything ends well, exit status 0
//   liveness_test silent   it goes silent: the next rank names it and aborts, exit status 5
//   liveness_test left     it ends as if all were done: the same, exit status 5
//   liveness_test agreed   it fails while agreeing: all ranks end in order, exit status 3
// Exit status 1 where something else happened.
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "comm/agreement.hpp"
#include "comm/mpi_communicator.hpp"
#include "comm/mpi_session.hpp"
#include "core/error.hpp"

namespace {

using namespace std::chrono_literals;

constexpr auto timeout = 2s;
constexpr auto longest_notice = 3 * timeout;  // generous: the machine may be busy

bool is_troubled(const tally::Communicator& comm) {
  return comm.rank() == comm.size() - 1;
}

void work_slowly(tally::Communicator& comm) {
  for (const auto start = std::chrono::steady_clock::now();
       std::chrono::steady_clock::now() - start < 3 * timeout;) {
    std::this_thread::sleep_for(50ms);
    comm.pulse();
  }
}

void run(std::string_view mode) {
  std::optional<tally::MpiCommunicator> comm;
  comm.emplace(MPI_COMM_WORLD, tally::MpiCommunicatorOptions{.timeout = timeout});
  comm->barrier();
  if (is_troubled(*comm)) {
    if (mode == "slow") work_slowly(*comm);
    if (mode == "silent") std::this_thread::sleep_for(60s);
    if (mode == "left") return;
  }
  if (mode == "agreed") {
    tally::agree(*comm, [&] {
      if (is_troubled(*comm)) throw tally::DataError("its file is torn");
    });
  }
  comm->barrier();
}

// Whether the rank after the troubled one gave the error that it should.
bool names_the_culprit(const std::string& message) {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return message.starts_with("rank " + std::to_string(size - 1) + " on ") &&
         message.find(" while rank 0 on ") != std::string::npos;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "slow";
  tally::MpiSession session;
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size < 2 || (mode != "slow" && mode != "silent" && mode != "left" && mode != "agreed")) {
    std::fprintf(stderr, "liveness_test needs two ranks and a mode: slow, silent, left or agreed\n");
    return 1;
  }

  const auto start = std::chrono::steady_clock::now();
  try {
    run(mode);
  } catch (const tally::CommunicationError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    const bool in_time = std::chrono::steady_clock::now() - start < longest_notice;
    const bool expected = (mode == "silent" || mode == "left") && names_the_culprit(error.what()) && in_time;
    session.abort(expected ? static_cast<int>(error.kind()) : 1);
  } catch (const tally::AgreedFailure&) {
    return mode == "agreed" ? static_cast<int>(tally::ErrorKind::data) : 1;
  }
  return mode == "slow" || mode == "left" ? 0 : 1;
}
