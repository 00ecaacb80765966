#pragma once
#include "algorithms/registry.hpp"

namespace tally {

// The whole `tally` command as a function, for a program that adds models of its own to the registry. Starts MPI
// where a launcher (mpirun, srun) started this process. Returns the exit status: 0 done, 2 usage, 3 data, 4 device,
// 5 communication, 6 stopped on request with the state saved, 1 other.
int run_command(int argc, char** argv, const Registry& registry);

}  // namespace tally
