#include "comm/check_mpi.hpp"

#include <array>
#include <string>

#include <mpi.h>

#include "core/error.hpp"

namespace tally {

void check_mpi(int code, std::source_location where) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING + 1> text{};
  int length = 0;
  if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) length = 0;
  throw CommunicationError("an MPI call failed in " + std::string(where.function_name()) + " (" +
                           where.file_name() + ":" + std::to_string(where.line()) + "), code " +
                           std::to_string(code) + ": " +
                           std::string(text.data(), static_cast<std::size_t>(length)));
}

}  // namespace tally
