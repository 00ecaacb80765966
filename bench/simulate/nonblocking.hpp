#pragma once
// Included before every source of comm that is compiled for the simulation: its nonblocking collectives are ours.
#include <mpi.h>

#include "bench/simulate/collectives.hpp"

#define MPI_Iallreduce tally::simulation::iallreduce
#define MPI_Igatherv tally::simulation::igatherv
#define MPI_Ibcast tally::simulation::ibcast
#define MPI_Ibarrier tally::simulation::ibarrier
#define MPI_Test tally::simulation::test
