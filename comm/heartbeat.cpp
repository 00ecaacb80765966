#include "comm/heartbeat.hpp"

#include <algorithm>
#include <string_view>
#include <type_traits>
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

Heartbeat::Heartbeat(MPI_Comm comm, std::chrono::milliseconds timeout, TimeNow clock)
    : comm_(comm),
      timeout_(timeout),
      interval_(std::clamp<std::chrono::milliseconds>(timeout / 20, 50ms, 2s)),
      clock_(std::move(clock)) {
  if (timeout < shortest_timeout) {
    throw UsageError("a timeout of " + std::to_string(timeout.count()) +
                     " ms is too short to tell a slow rank from a lost one; give at least " +
                     std::to_string(shortest_timeout.count()) + " ms");
  }
  int size = 1;
  check_mpi(MPI_Comm_rank(comm, &rank_));
  check_mpi(MPI_Comm_size(comm, &size));
  predecessor_ = (rank_ + size - 1) % size;
  successor_ = (rank_ + 1) % size;
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
  if (sending_alarm_ == MPI_REQUEST_NULL) return;
  int sent = 0;
  MPI_Test(&sending_alarm_, &sent, MPI_STATUS_IGNORE);
  if (sent) return;
  MPI_Request_free(&sending_alarm_);
  (void)outgoing_alarm_.release();  // MPI may still read it
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
  receive();
  return silence_ > timeout_;
}

void Heartbeat::raise_alarm(ErrorKind kind, const std::string& message) {
  if (alarm_) return;
  alarm_ = Alarm{.rank = rank_, .kind = kind};
  const std::string_view text = std::string_view(message).substr(0, alarm_->message.size() - 1);
  std::copy(text.begin(), text.end(), alarm_->message.begin());
  send_alarm();
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

void Heartbeat::send_alarm() {
  static_assert(std::is_trivially_copyable_v<Packet>);
  if (alone_ || successor_ == alarm_->rank) return;
  outgoing_alarm_ = std::make_unique<Packet>(Packet{Message::alarm, *alarm_});
  check_mpi(MPI_Isend(outgoing_alarm_.get(), static_cast<int>(sizeof(Packet)), MPI_BYTE, successor_,
                      heartbeat_tag, comm_, &sending_alarm_));
}

void Heartbeat::receive() {
  while (receiving_ != MPI_REQUEST_NULL) {
    int done = 0;
    check_mpi(MPI_Test(&receiving_, &done, MPI_STATUS_IGNORE));
    if (!done) return;
    silence_ = {};
    if (incoming_.message == Message::leaving) {
      predecessor_has_left_ = true;
      return;
    }
    if (incoming_.message == Message::alarm && !alarm_) {
      alarm_ = incoming_.alarm;
      send_alarm();
    }
    post_receive();
  }
}

void Heartbeat::post_receive() {
  check_mpi(MPI_Irecv(&incoming_, static_cast<int>(sizeof(Packet)), MPI_BYTE, predecessor_, heartbeat_tag,
                      comm_, &receiving_));
}

}  // namespace tally
