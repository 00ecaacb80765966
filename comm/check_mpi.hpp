#pragma once
#include <source_location>

namespace tally {

// Throws CommunicationError with MPI's own words where `code` is not MPI_SUCCESS.
void check_mpi(int code, std::source_location where = std::source_location::current());

}  // namespace tally
