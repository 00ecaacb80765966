#pragma once

namespace tally {

// What the environment says of how this process was started, before there is MPI.

// Whether mpirun, or srun with a plugin for MPI, started it as a rank.
bool started_as_rank();
// The ranks that were started with it, and its number among them; 0 where it is not said.
int ranks_started();
int number_of_rank();

}  // namespace tally
