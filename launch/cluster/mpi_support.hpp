#pragma once
#include <string>
#include <vector>

#include "launch/cluster/cluster.hpp"

namespace tally {

// An MPI library, or an mpirun, by what it says of itself.
struct MpiName {
  enum class Family { unknown, open_mpi, mpich };  // mpich: those that Hydra starts
  Family family = Family::unknown;
  std::string version;  // empty: not said

  // "Open MPI 4.1.4"; empty where the family is not known.
  std::string words() const;
};

// Of MPI_Get_library_version, of `mpirun --version` or of Node::mpi.
MpiName parse_mpi_name(const std::string& text);

// Why ranks with this library cannot be started by this mpirun: they would not find each other, and each would run the whole job.
// Empty where they can, or where it is not known.
std::string why_not_started_by(const MpiName& mpirun, const MpiName& library);
// What may go wrong although they can; empty: nothing.
std::string doubts_about(const MpiName& mpirun, const MpiName& library);

// Warns of nodes whose MPI libraries differ.
void warn_of_libraries(const Cluster& cluster, std::vector<std::string>& warnings);

// The plugins in what `srun --mpi=list` says: "none", "pmix", ...; empty where it is no such list.
std::vector<std::string> parse_srun_plugins(const std::string& text);

}  // namespace tally
