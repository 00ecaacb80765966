#include "comm/heartbeat.hpp"

#include <algorithm>
#include <utility>

#include "comm/backoff.hpp"
#include "comm/check_mpi.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

using namespace std::chrono_literals;

constexpr int heartbeat_tag = 1;
constexpr std::chrono::milliseconds shortest_timeout = 200ms;

}  // namespace

Heartbeat::Heartbeat(MPI_Comm comm, std::chrono::milliseconds timeout, Clock clock)
    : comm_(comm),
      timeout_(timeout),
      interval_(std::clamp<std::chrono::milliseconds>(timeout / 20, 50ms, 2s)),
      clock_(std::move(clock)) {
  if (timeout < shortest_timeout) {
    throw UsageError("a timeout of " + std::to_string(timeout.count()) +
                     " ms is too short to tell a slow rank from a lost one; give at least " +
                     std::to_string(shortest_timeout.count()) + " ms");
  }
  int rank = 0;
  int size = 1;
  check_mpi(MPI_Comm_rank(comm, &rank));
  check_mpi(MPI_Comm_size(comm, &size));
  predecessor_ = (rank + size - 1) % size;
  successor_ = (rank + 1) % size;
  alone_ = size == 1;
  sending_.fill(MPI_REQUEST_NULL);
  next_beat_ = last_look_ = clock_();
  if (!alone_) post_receive();
}

Heartbeat::~Heartbeat() {
  int finalized = 0;
  if (MPI_Finalized(&finalized) != MPI_SUCCESS || finalized) return;
  if (receiving_ != MPI_REQUEST_NULL) {
    MPI_Cancel(&receiving_);
    MPI_Wait(&receiving_, MPI_STATUS_IGNORE);  // a cancelled receive completes without its sender
  }
  for (MPI_Request& request : sending_) {
    if (request != MPI_REQUEST_NULL) MPI_Request_free(&request);
  }
}

void Heartbeat::beat() {
  if (alone_) return;
  const auto now = clock_();
  if (now < next_beat_) return;
  next_beat_ = now + interval_;
  send();
  receive();
}

void Heartbeat::start_watch() {
  silence_ = {};
  last_look_ = clock_();
}

bool Heartbeat::predecessor_is_silent() {
  if (alone_) return false;
  beat();
  const auto now = clock_();
  silence_ += std::min(now - last_look_, interval_);
  last_look_ = now;
  if (silence_ <= timeout_) return false;
  receive();
  return silence_ > timeout_;
}

bool Heartbeat::leave() {
  if (alone_) return true;
  start_watch();
  MPI_Request farewell = MPI_REQUEST_NULL;
  static constexpr Message leaving = Message::leaving;
  check_mpi(MPI_Isend(&leaving, 1, MPI_BYTE, successor_, heartbeat_tag, comm_, &farewell));
  for (Backoff backoff;; backoff.pause()) {
    int told = 0;
    int delivered = 0;
    check_mpi(MPI_Test(&farewell, &told, MPI_STATUS_IGNORE));
    check_mpi(
        MPI_Testall(static_cast<int>(sending_.size()), sending_.data(), &delivered, MPI_STATUSES_IGNORE));
    receive();
    if (told && delivered && predecessor_has_left_) return true;
    const auto now = clock_();
    silence_ += std::min(now - last_look_, interval_);
    last_look_ = now;
    if (silence_ > timeout_) {
      if (farewell != MPI_REQUEST_NULL) MPI_Request_free(&farewell);
      return false;
    }
  }
}

void Heartbeat::send() {
  static constexpr Message alive = Message::alive;  // outlives every request
  for (MPI_Request& request : sending_) {
    int done = 0;
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
    if (!done) continue;
    check_mpi(MPI_Isend(&alive, 1, MPI_BYTE, successor_, heartbeat_tag, comm_, &request));
    return;
  }
}

void Heartbeat::receive() {
  while (receiving_ != MPI_REQUEST_NULL) {
    int done = 0;
    check_mpi(MPI_Test(&receiving_, &done, MPI_STATUS_IGNORE));
    if (!done) return;
    silence_ = {};
    if (incoming_ == Message::leaving) {
      predecessor_has_left_ = true;
      return;
    }
    post_receive();
  }
}

void Heartbeat::post_receive() {
  check_mpi(MPI_Irecv(&incoming_, 1, MPI_BYTE, predecessor_, heartbeat_tag, comm_, &receiving_));
}

}  // namespace tally
