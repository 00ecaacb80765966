#pragma once
#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include <mpi.h>

#include "core/error.hpp"

namespace tally {

using TimeNow = std::function<std::chrono::steady_clock::time_point()>;

// Signs of life between the ranks of an MPI communicator, in a ring: each rank sends a byte to the next and watches
// the one before, so a rank that stops is noticed by exactly one other. Point-to-point messages only; no thread.
class Heartbeat {
 public:
  // A rank cannot go on, and why. Goes round the ring once.
  struct Alarm {
    int rank = 0;
    ErrorKind kind = ErrorKind::other;
    std::array<char, 1000> message{};  // ends with a zero
  };

  // `comm` outlives this object and carries no other point-to-point messages. Throws UsageError where `timeout` is
  // below 200 ms.
  Heartbeat(MPI_Comm comm, std::chrono::milliseconds timeout, TimeNow clock);
  // Abandons what is in flight without waiting; leave() first where the neighbours are well.
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  // Sends and receives where that is due: every twentieth of the timeout, from 50 ms to 2 s.
  void beat();

  // Begins to measure the silence of the rank before this one.
  void start_watch();
  // Call it often while waiting: beats, and tells whether that rank has been silent for the timeout. Time in which
  // this rank itself did not run (a suspended job) counts as one interval, since the other may have been stopped too.
  bool predecessor_is_silent();
  // Whether the rank before this one has taken its leave.
  bool predecessor_has_left() const noexcept { return predecessor_has_left_; }
  int predecessor() const noexcept { return predecessor_; }
  std::chrono::milliseconds timeout() const noexcept { return timeout_; }

  // Tells all ranks, at the speed at which they look. Only the first alarm that a rank raises or hears counts there.
  void raise_alarm(ErrorKind kind, const std::string& message);
  // The first alarm of any rank, this one included.
  const std::optional<Alarm>& alarm() const noexcept { return alarm_; }

  // Tells the next rank that no more messages come and waits until the rank before has said so too and all is
  // delivered; false where that takes longer than the timeout.
  bool leave();

 private:
  enum class Message : unsigned char { alive, leaving, alarm };
  struct Packet {  // only an alarm is sent whole
    Message message = Message::alive;
    Alarm alarm;
  };

  void send();
  void send_alarm();
  void receive();
  void post_receive();

  MPI_Comm comm_;
  int rank_ = 0;
  int predecessor_ = 0;
  int successor_ = 0;
  bool alone_ = false;
  std::chrono::milliseconds timeout_;
  std::chrono::steady_clock::duration interval_;
  TimeNow clock_;
  std::chrono::steady_clock::time_point next_beat_;
  std::chrono::steady_clock::time_point last_look_;
  std::chrono::steady_clock::duration silence_{};
  bool predecessor_has_left_ = false;
  std::optional<Alarm> alarm_;
  Packet incoming_;
  MPI_Request receiving_ = MPI_REQUEST_NULL;
  std::array<MPI_Request, 4>
      sending_;  // a full pool means a neighbour that does not receive: then none is sent
  std::unique_ptr<Packet> outgoing_alarm_;
  MPI_Request sending_alarm_ = MPI_REQUEST_NULL;
};

}  // namespace tally
