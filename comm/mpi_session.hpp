#pragma once
#include <string>

namespace tally {

// What the MPI library calls itself, also before it is initialised. Throws CommunicationError.
std::string mpi_library_version();

// Owns the initialisation of MPI: for a program, never for a library. Outlives every MpiCommunicator.
class MpiSession {
 public:
  // Initialises MPI for calls from this thread only. Throws CommunicationError where MPI cannot give that.
  MpiSession();
  // Finalizes MPI, which waits for all ranks. While an exception unwinds it does not, so that the launcher sees a
  // rank that ends without finalizing and ends the others.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  // Ends every rank of the job at once; the launcher's exit status becomes `status`.
  [[noreturn]] void abort(int status) noexcept;

 private:
  int exceptions_at_start_;
};

}  // namespace tally
