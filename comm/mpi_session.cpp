#include "comm/mpi_session.hpp"

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>

#include <mpi.h>

#include "comm/check_mpi.hpp"
#include "core/error.hpp"

namespace tally {

std::string mpi_library_version() {
  std::string text(MPI_MAX_LIBRARY_VERSION_STRING, '\0');
  int length = 0;
  check_mpi(MPI_Get_library_version(text.data(), &length));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

MpiSession::MpiSession() : exceptions_at_start_(std::uncaught_exceptions()) {
  int initialized = 0;
  check_mpi(MPI_Initialized(&initialized));
  if (initialized)
    throw CommunicationError("MPI is initialised already; an MpiSession must be its only owner");
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided));
  if (provided < MPI_THREAD_FUNNELED) {
    MPI_Finalize();
    throw CommunicationError(
        "this MPI library does not work in a process with threads (MPI_THREAD_FUNNELED); use one that was "
        "built "
        "with thread support");
  }
}

MpiSession::~MpiSession() {
  int finalized = 0;
  if (MPI_Finalized(&finalized) != MPI_SUCCESS || finalized) return;
  if (std::uncaught_exceptions() > exceptions_at_start_) return;
  MPI_Finalize();
}

void MpiSession::abort(int status) noexcept {
  // What follows waits for the daemon of this host, which may stand still.
  std::thread([status] {
    std::this_thread::sleep_for(std::chrono::seconds(10));
    std::_Exit(status);
  }).detach();
  std::fflush(nullptr);  // MPI_Abort ends the process without it
  MPI_Abort(MPI_COMM_WORLD, status);
  std::_Exit(status);  // some implementations return
}

}  // namespace tally
