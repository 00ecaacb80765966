#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include <mpi.h>

#include "comm/heartbeat.hpp"

namespace tally {

// Tells ranks that wait for each other from ranks that wait for a slow one. A rank that has waited for the timeout
// answers where it waits; a round is over once all have, so while one rank works none is. Two rounds between which
// no rank has moved prove that all waited at the end of the first. The rounds are nonblocking collectives on a
// communicator of their own, and there are none while no wait lasts that long.
class RollCall {
 public:
  // What a rank waits for: something that ends once all ranks wait for it, like a sum on devices, or a collective of
  // MPI, which may move data for as long as it takes.
  enum class Waits : std::int32_t { for_devices, for_mpi };

  struct Answer {
    std::int64_t call = 0;  // counts the waits of a rank
    Waits waits = Waits::for_mpi;
    std::int32_t has_moved = 0;  // since its answer before
    std::int32_t is_leaving = 0;
    std::array<char, 52> name{};
  };

  // Works on a duplicate of `parent`. Collective.
  RollCall(MPI_Comm parent, std::chrono::milliseconds timeout, TimeNow clock);
  // Abandons what is pending; close() first where the other ranks are well.
  ~RollCall();
  RollCall(const RollCall&) = delete;
  RollCall& operator=(const RollCall&) = delete;

  // A wait begins, which all ranks enter in the same order.
  void begin(const char* name, Waits waits);
  // This rank itself gets on: its wait begins anew.
  void move();
  // Call it often while waiting. True once no rank can get on: where ranks wait in their calls of the same number under
  // different names, or where the furthest behind waits for devices.
  bool finds_standstill();
  // Of every rank, in the last round.
  const std::vector<Answer>& answers() const noexcept { return *answers_; }

  // Ends the rounds; false where the others do not within the timeout. Collective.
  bool close();

 private:
  void post(bool is_leaving);
  bool round_is_over();

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  std::chrono::milliseconds timeout_;
  std::chrono::steady_clock::duration interval_;
  TimeNow clock_;
  Answer own_;
  std::int64_t moves_ = 0;
  std::int64_t moves_at_last_answer_ = -1;
  std::chrono::steady_clock::duration waited_{};
  std::chrono::steady_clock::time_point last_look_;
  std::chrono::steady_clock::time_point next_answer_;
  MPI_Request round_ = MPI_REQUEST_NULL;
  // What MPI reads and writes during a round: of each rank, zeros but for its own place, and all together.
  std::unique_ptr<std::vector<Answer>> sent_ = std::make_unique<std::vector<Answer>>();
  std::unique_ptr<std::vector<Answer>> answers_ = std::make_unique<std::vector<Answer>>();
};

}  // namespace tally
