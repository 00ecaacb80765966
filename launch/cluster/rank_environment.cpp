#include "launch/cluster/rank_environment.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "launch/cluster/slurm_step.hpp"

namespace tally {
namespace {

// Of Open MPI's mpirun, of MPICH's and srun's PMI; PMIx says no number of ranks.
struct Names {
  const char* rank;
  const char* ranks;
};
constexpr std::array launchers = {Names{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}, Names{"PMI_RANK", "PMI_SIZE"}};

int number(const char* variable) {
  const char* const text = std::getenv(variable);
  return text ? std::atoi(text) : 0;
}

}  // namespace

bool started_as_rank() {
  return std::any_of(launchers.begin(), launchers.end(),
                     [](const Names& names) { return std::getenv(names.rank) || std::getenv(names.ranks); }) ||
         std::getenv("PMIX_RANK") || std::getenv("MPI_LOCALNRANKS");
}

int ranks_started() {
  for (const Names& names : launchers)
    if (std::getenv(names.ranks)) return number(names.ranks);
  return tasks_of_slurm_step();
}

int number_of_rank() {
  for (const Names& names : launchers)
    if (std::getenv(names.rank)) return number(names.rank);
  return task_of_slurm_step();
}

}  // namespace tally
