// A library to preload (LD_PRELOAD) that stands between a program and MPI and counts the collective calls that the
// program really makes. Where TALLY_COUNT_COLLECTIVES is set to a prefix, each rank writes `<prefix>.<rank>` at
// MPI_Finalize: a line "MPI_Iallreduce 17" for every collective that was called, in alphabetical order. Calls that
// construct communicators follow as "construction MPI_Comm_dup 1".
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>

#include <mpi.h>

namespace {

struct Counts {
  std::map<std::string, long> collectives;
  std::map<std::string, long> constructions;
};

// MPI calls reach this library from one thread (MPI_THREAD_FUNNELED).
Counts& call_counts() {
  static Counts counted;
  return counted;
}

void write_counts(const std::string& prefix, int rank) {
  std::ofstream file(prefix + "." + std::to_string(rank));
  for (const auto& [name, count] : call_counts().collectives) file << name << ' ' << count << '\n';
  for (const auto& [name, count] : call_counts().constructions)
    file << "construction " << name << ' ' << count << '\n';
}

}  // namespace

// Defines the MPI function `name`, which counts itself and calls the real one.
#define TALLY_COUNT(table, name, parameters, arguments) \
  int MPI_##name parameters {                           \
    ++call_counts().table["MPI_" #name];                \
    return PMPI_##name arguments;                       \
  }
// The same for a collective and its nonblocking twin.
#define TALLY_COUNT_BOTH(name, twin, parameters, arguments) \
  TALLY_COUNT(collectives, name, (parameters), (arguments)) \
  TALLY_COUNT(collectives, twin, (parameters, MPI_Request * request), (arguments, request))
#define TALLY_LIST(...) __VA_ARGS__

extern "C" {

TALLY_COUNT_BOTH(Allreduce, Iallreduce,
                 TALLY_LIST(const void* send, void* receive, int count, MPI_Datatype type, MPI_Op op,
                            MPI_Comm comm),
                 TALLY_LIST(send, receive, count, type, op, comm))
TALLY_COUNT_BOTH(Reduce, Ireduce,
                 TALLY_LIST(const void* send, void* receive, int count, MPI_Datatype type, MPI_Op op,
                            int root, MPI_Comm comm),
                 TALLY_LIST(send, receive, count, type, op, root, comm))
TALLY_COUNT_BOTH(Reduce_scatter, Ireduce_scatter,
                 TALLY_LIST(const void* send, void* receive, const int counts[], MPI_Datatype type, MPI_Op op,
                            MPI_Comm comm),
                 TALLY_LIST(send, receive, counts, type, op, comm))
TALLY_COUNT_BOTH(Reduce_scatter_block, Ireduce_scatter_block,
                 TALLY_LIST(const void* send, void* receive, int count, MPI_Datatype type, MPI_Op op,
                            MPI_Comm comm),
                 TALLY_LIST(send, receive, count, type, op, comm))
TALLY_COUNT_BOTH(Scan, Iscan,
                 TALLY_LIST(const void* send, void* receive, int count, MPI_Datatype type, MPI_Op op,
                            MPI_Comm comm),
                 TALLY_LIST(send, receive, count, type, op, comm))
TALLY_COUNT_BOTH(Exscan, Iexscan,
                 TALLY_LIST(const void* send, void* receive, int count, MPI_Datatype type, MPI_Op op,
                            MPI_Comm comm),
                 TALLY_LIST(send, receive, count, type, op, comm))
TALLY_COUNT_BOTH(Barrier, Ibarrier, TALLY_LIST(MPI_Comm comm), TALLY_LIST(comm))
TALLY_COUNT_BOTH(Bcast, Ibcast,
                 TALLY_LIST(void* buffer, int count, MPI_Datatype type, int root, MPI_Comm comm),
                 TALLY_LIST(buffer, count, type, root, comm))
TALLY_COUNT_BOTH(Gather, Igather,
                 TALLY_LIST(const void* send, int send_count, MPI_Datatype send_type, void* receive,
                            int count, MPI_Datatype type, int root, MPI_Comm comm),
                 TALLY_LIST(send, send_count, send_type, receive, count, type, root, comm))
TALLY_COUNT_BOTH(Gatherv, Igatherv,
                 TALLY_LIST(const void* send, int send_count, MPI_Datatype send_type, void* receive,
                            const int counts[], const int starts[], MPI_Datatype type, int root,
                            MPI_Comm comm),
                 TALLY_LIST(send, send_count, send_type, receive, counts, starts, type, root, comm))
TALLY_COUNT_BOTH(Scatter, Iscatter,
                 TALLY_LIST(const void* send, int send_count, MPI_Datatype send_type, void* receive,
                            int count, MPI_Datatype type, int root, MPI_Comm comm),
                 TALLY_LIST(send, send_count, send_type, receive, count, type, root, comm))
TALLY_COUNT_BOTH(Scatterv, Iscatterv,
                 TALLY_LIST(const void* send, const int send_counts[], const int send_starts[],
                            MPI_Datatype send_type, void* receive, int count, MPI_Datatype type, int root,
                            MPI_Comm comm),
                 TALLY_LIST(send, send_counts, send_starts, send_type, receive, count, type, root, comm))
TALLY_COUNT_BOTH(Allgather, Iallgather,
                 TALLY_LIST(const void* send, int send_count, MPI_Datatype send_type, void* receive,
                            int count, MPI_Datatype type, MPI_Comm comm),
                 TALLY_LIST(send, send_count, send_type, receive, count, type, comm))
TALLY_COUNT_BOTH(Allgatherv, Iallgatherv,
                 TALLY_LIST(const void* send, int send_count, MPI_Datatype send_type, void* receive,
                            const int counts[], const int starts[], MPI_Datatype type, MPI_Comm comm),
                 TALLY_LIST(send, send_count, send_type, receive, counts, starts, type, comm))
TALLY_COUNT_BOTH(Alltoall, Ialltoall,
                 TALLY_LIST(const void* send, int send_count, MPI_Datatype send_type, void* receive,
                            int count, MPI_Datatype type, MPI_Comm comm),
                 TALLY_LIST(send, send_count, send_type, receive, count, type, comm))
TALLY_COUNT_BOTH(Alltoallv, Ialltoallv,
                 TALLY_LIST(const void* send, const int send_counts[], const int send_starts[],
                            MPI_Datatype send_type, void* receive, const int counts[], const int starts[],
                            MPI_Datatype type, MPI_Comm comm),
                 TALLY_LIST(send, send_counts, send_starts, send_type, receive, counts, starts, type, comm))
TALLY_COUNT_BOTH(Alltoallw, Ialltoallw,
                 TALLY_LIST(const void* send, const int send_counts[], const int send_starts[],
                            const MPI_Datatype send_types[], void* receive, const int counts[],
                            const int starts[], const MPI_Datatype types[], MPI_Comm comm),
                 TALLY_LIST(send, send_counts, send_starts, send_types, receive, counts, starts, types, comm))

TALLY_COUNT(constructions, Comm_dup, (MPI_Comm comm, MPI_Comm* made), (comm, made))
TALLY_COUNT(constructions, Comm_dup_with_info, (MPI_Comm comm, MPI_Info info, MPI_Comm* made),
            (comm, info, made))
TALLY_COUNT(constructions, Comm_idup, (MPI_Comm comm, MPI_Comm* made, MPI_Request* request),
            (comm, made, request))
TALLY_COUNT(constructions, Comm_create, (MPI_Comm comm, MPI_Group group, MPI_Comm* made), (comm, group, made))
TALLY_COUNT(constructions, Comm_split, (MPI_Comm comm, int color, int key, MPI_Comm* made),
            (comm, color, key, made))
TALLY_COUNT(constructions, Comm_split_type, (MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm* made),
            (comm, type, key, info, made))

int MPI_Finalize() {
  int rank = 0;
  PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const int code = PMPI_Finalize();
  if (const char* prefix = std::getenv("TALLY_COUNT_COLLECTIVES")) write_counts(prefix, rank);
  return code;
}

}  // extern "C"
