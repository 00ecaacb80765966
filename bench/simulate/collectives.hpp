#pragma once
#include <cstdint>

#include <mpi.h>

namespace tally::simulation {

// How a sum over P ranks travels.
enum class Allreduce {
  open_mpi,     // as Open MPI 4 and 5 choose: binomial in place or below 64 KiB, else Rabenseifner
  binomial,     // up a tree and down again, the whole buffer at each step
  rabenseifner  // halves to and fro (reduce-scatter), then the reverse (allgather)
};

// What the simulated MPI costs besides the network, in seconds and bytes.
struct Costs {
  Allreduce allreduce = Allreduce::open_mpi;
  double overhead = 0.5e-6;  // of a processor, for each message sent and each received
  double sum_rate = 8e9;     // bytes of a received buffer added each second
  double busy = 1e-3;        // a waiting rank looks without rest for so long,
  double nap = 0.1e-3;  // and then once in so long (comm's Backoff with the kernel's slack); 0: without rest
};

// What a rank has sent in collectives.
struct Traffic {
  std::int64_t messages = 0, bytes = 0;
  int peers = 0;  // ranks that it has sent to or received from
};

// Seconds of the simulation.
double now();
// Sets the costs; before the first collective.
void set_costs(const Costs& costs);
// Of a rank of MPI_COMM_WORLD, so far.
Traffic traffic_of(int rank);

// The nonblocking collectives that comm calls, as Open MPI makes them of messages; SimGrid's own send every rank's buffer to
// every other. They return when they are complete, with MPI_REQUEST_NULL. Intracommunicators alone.
int iallreduce(const void* send, void* receive, int count, MPI_Datatype type, MPI_Op operation, MPI_Comm comm,
               MPI_Request* request);
int igatherv(const void* send, int send_count, MPI_Datatype send_type, void* receive,
             const int* receive_counts, const int* starts, MPI_Datatype receive_type, int root, MPI_Comm comm,
             MPI_Request* request);
int ibcast(void* buffer, int count, MPI_Datatype type, int root, MPI_Comm comm, MPI_Request* request);
int ibarrier(MPI_Comm comm, MPI_Request* request);
// MPI_REQUEST_NULL is done, which SimGrid denies.
int test(MPI_Request* request, int* done, MPI_Status* status);

}  // namespace tally::simulation
