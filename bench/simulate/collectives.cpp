#include "bench/simulate/collectives.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include <simgrid/s4u/Actor.hpp>
#include <simgrid/s4u/Engine.hpp>

namespace tally::simulation {
namespace {

constexpr int tag = 4711;
constexpr std::size_t small_bytes = 65536;  // below, Open MPI sums through a tree

struct Sent {
  Traffic traffic;
  std::vector<bool> peers;
  void add_peer(int rank) {
    traffic.peers += !peers[static_cast<std::size_t>(rank)];
    peers[static_cast<std::size_t>(rank)] = true;
  }
};
struct World {
  Costs costs;
  std::vector<Sent> ranks;
};
World& world() {
  static World instance;
  return instance;
}

void pass(double seconds) {
  if (seconds > 0) simgrid::s4u::this_actor::sleep_for(seconds);
}

Sent& sent_of_this_rank() {
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  std::vector<Sent>& ranks = world().ranks;
  const auto count = static_cast<std::size_t>(size);
  if (ranks.size() < count) ranks.assign(count, {Traffic(), std::vector<bool>(count)});
  return ranks[static_cast<std::size_t>(rank)];
}

std::size_t extent_of(MPI_Datatype type) {
  MPI_Aint lower = 0, extent = 0;
  MPI_Type_get_extent(type, &lower, &extent);
  return static_cast<std::size_t>(extent);
}

// One collective of one rank, and the messages that it is made of.
class Collective {
 public:
  explicit Collective(MPI_Comm comm) : comm_(comm) {
    MPI_Comm_rank(comm, &rank_);
    MPI_Comm_size(comm, &size_);
  }
  int rank() const { return rank_; }
  int size() const { return size_; }
  int steps() const { return static_cast<int>(std::bit_width(static_cast<unsigned>(size_ - 1))); }

  MPI_Request send(const void* data, int count, MPI_Datatype type, int to) {
    MPI_Request request = MPI_REQUEST_NULL;
    pass(world().costs.overhead);
    MPI_Isend(data, count, type, to, tag, comm_, &request);
    Sent& sent = sent_of_this_rank();
    ++sent.traffic.messages;
    sent.traffic.bytes += static_cast<std::int64_t>(extent_of(type)) * count;
    sent.add_peer(to);
    return request;
  }
  MPI_Request post_receive(void* data, int count, MPI_Datatype type, int from) {
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Irecv(data, count, type, from, tag, comm_, &request);
    sent_of_this_rank().add_peer(from);
    return request;
  }
  // Until what was received is seen by a rank that looks now and then.
  void finish(MPI_Request request) {
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    const double waited = now() - start_ - world().costs.busy, nap = world().costs.nap;
    if (waited > 0 && nap > 0) pass(std::ceil(waited / nap) * nap - waited);
    pass(world().costs.overhead);
  }
  void receive(void* data, int count, MPI_Datatype type, int from) {
    finish(post_receive(data, count, type, from));
  }
  void exchange(const void* data, int count, void* into, int into_count, MPI_Datatype type, int peer) {
    const MPI_Request coming = post_receive(into, into_count, type, peer);
    MPI_Request going = send(data, count, type, peer);
    finish(coming);
    MPI_Wait(&going, MPI_STATUS_IGNORE);
  }
  static void combine(const void* from, void* to, int count, MPI_Datatype type, MPI_Op operation) {
    MPI_Reduce_local(from, to, count, type, operation);
    pass(static_cast<double>(extent_of(type)) * count / world().costs.sum_rate);
  }

  void broadcast_binomial(void* data, int count, MPI_Datatype type, int root) {
    const int place = (rank_ - root + size_) % size_;
    const auto rank_at = [&](int at) { return (at + root) % size_; };
    std::vector<MPI_Request> going;
    for (int step = 0; step < steps(); ++step) {
      const int half = 1 << step;
      if (place >= half && place < 2 * half) receive(data, count, type, rank_at(place - half));
      if (place < half && place + half < size_)
        going.push_back(send(data, count, type, rank_at(place + half)));
    }
    MPI_Waitall(static_cast<int>(going.size()), going.data(), MPI_STATUSES_IGNORE);
  }

  void allreduce_binomial(void* data, int count, MPI_Datatype type, MPI_Op operation) {
    std::vector<std::byte> other(extent_of(type) * static_cast<std::size_t>(count));
    for (int step = 0; step < steps(); ++step) {
      const int half = 1 << step;
      if (rank_ % (2 * half) != 0) {
        MPI_Request going = send(data, count, type, rank_ - half);
        MPI_Wait(&going, MPI_STATUS_IGNORE);
        break;
      }
      if (rank_ + half >= size_) continue;
      receive(other.data(), count, type, rank_ + half);
      combine(other.data(), data, count, type, operation);
    }
    broadcast_binomial(data, count, type, 0);
  }

  // Rabenseifner's, for sums of independent elements. Ranks beyond the largest power of two hand their buffer to a neighbour
  // and get the result from it.
  void allreduce_rabenseifner(std::byte* data, int count, MPI_Datatype type, MPI_Op operation) {
    const std::size_t extent = extent_of(type);
    std::vector<std::byte> other(extent * static_cast<std::size_t>(count));
    const int inner = static_cast<int>(std::bit_floor(static_cast<unsigned>(size_))), beyond = size_ - inner;
    const bool paired = rank_ < 2 * beyond;
    if (paired && rank_ % 2 == 1) {
      MPI_Request going = send(data, count, type, rank_ - 1);
      MPI_Wait(&going, MPI_STATUS_IGNORE);
      receive(data, count, type, rank_ - 1);
      return;
    }
    if (paired) {
      receive(other.data(), count, type, rank_ + 1);
      combine(other.data(), data, count, type, operation);
    }
    const int place = paired ? rank_ / 2 : rank_ - beyond;
    const auto rank_at = [&](int at) { return at < beyond ? 2 * at : at + beyond; };
    struct Part {
      int first, count;
    };
    std::vector<Part> parts = {{0, count}};  // what this rank sums, after each step
    for (int distance = 1; distance < inner; distance *= 2) {
      const Part whole = parts.back();
      const Part low{whole.first, whole.count / 2}, high{whole.first + low.count, whole.count - low.count};
      const bool takes_low = (place & distance) == 0;
      const Part mine = takes_low ? low : high, theirs = takes_low ? high : low;
      exchange(at(data, theirs.first, extent), theirs.count, at(other.data(), mine.first, extent), mine.count,
               type, rank_at(place ^ distance));
      combine(at(other.data(), mine.first, extent), at(data, mine.first, extent), mine.count, type,
              operation);
      parts.push_back(mine);
    }
    for (int distance = inner / 2; distance > 0; distance /= 2) {
      const Part mine = parts.back();
      parts.pop_back();
      const Part whole = parts.back();
      const Part theirs = mine.first == whole.first ? Part{mine.first + mine.count, whole.count - mine.count}
                                                    : Part{whole.first, mine.first - whole.first};
      exchange(at(data, mine.first, extent), mine.count, at(data, theirs.first, extent), theirs.count, type,
               rank_at(place ^ distance));
    }
    if (paired) {
      MPI_Request going = send(data, count, type, rank_ + 1);
      MPI_Wait(&going, MPI_STATUS_IGNORE);
    }
  }

 private:
  static std::byte* at(std::byte* data, int element, std::size_t extent) {
    return data + static_cast<std::size_t>(element) * extent;
  }

  MPI_Comm comm_;
  int rank_ = 0, size_ = 1;
  double start_ = now();
};

}  // namespace

double now() {
  return simgrid::s4u::Engine::get_clock();
}

void set_costs(const Costs& costs) {
  world().costs = costs;
}

Traffic traffic_of(int rank) {
  return world().ranks.empty() ? Traffic() : world().ranks[static_cast<std::size_t>(rank)].traffic;
}

int iallreduce(const void* send, void* receive, int count, MPI_Datatype type, MPI_Op operation, MPI_Comm comm,
               MPI_Request* request) {
  Collective collective(comm);
  const std::size_t bytes = extent_of(type) * static_cast<std::size_t>(count);
  const bool in_place = send == MPI_IN_PLACE;
  if (!in_place) std::memcpy(receive, send, bytes);
  Allreduce way = world().costs.allreduce;
  if (way == Allreduce::open_mpi)
    way = in_place || bytes < small_bytes || collective.size() < 4 ? Allreduce::binomial
                                                                   : Allreduce::rabenseifner;
  if (way == Allreduce::rabenseifner && count >= collective.size())
    collective.allreduce_rabenseifner(static_cast<std::byte*>(receive), count, type, operation);
  else
    collective.allreduce_binomial(receive, count, type, operation);
  *request = MPI_REQUEST_NULL;
  return MPI_SUCCESS;
}

int igatherv(const void* send, int send_count, MPI_Datatype send_type, void* receive,
             const int* receive_counts, const int* starts, MPI_Datatype receive_type, int root, MPI_Comm comm,
             MPI_Request* request) {
  *request = MPI_REQUEST_NULL;
  return MPI_Gatherv(send, send_count, send_type, receive, receive_counts, starts, receive_type, root, comm);
}

int ibcast(void* buffer, int count, MPI_Datatype type, int root, MPI_Comm comm, MPI_Request* request) {
  Collective(comm).broadcast_binomial(buffer, count, type, root);
  *request = MPI_REQUEST_NULL;
  return MPI_SUCCESS;
}

int ibarrier(MPI_Comm comm, MPI_Request* request) {
  int nothing = 0;
  Collective(comm).allreduce_binomial(&nothing, 1, MPI_INT, MPI_SUM);
  *request = MPI_REQUEST_NULL;
  return MPI_SUCCESS;
}

int test(MPI_Request* request, int* done, MPI_Status* status) {
  if (*request != MPI_REQUEST_NULL) return MPI_Test(request, done, status);
  *done = 1;
  return MPI_SUCCESS;
}

}  // namespace tally::simulation
