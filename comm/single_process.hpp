#pragma once
#include <chrono>
#include <string>
#include <vector>

#include "comm/backoff.hpp"
#include "comm/communicator.hpp"
#include "comm/host_name.hpp"
#include "comm/in_seconds.hpp"

namespace tally {

// The world of one rank: every collective is already done.
class SingleProcess final : public Communicator {
 public:
  // `timeout`: how long wait_until() waits for what makes no progress.
  explicit SingleProcess(std::chrono::milliseconds timeout = std::chrono::seconds(60)) : timeout_(timeout) {}

  int rank() const noexcept override { return 0; }
  int size() const noexcept override { return 1; }
  int node_rank() const noexcept override { return 0; }
  const std::string& host_name() const noexcept override { return host_name_; }

  void sum(std::span<std::int64_t>) override {}
  void sum(std::span<double>) override {}
  void sum_and_max(std::span<std::int64_t>, std::span<std::int64_t>) override {}
  void broadcast(std::span<std::byte>, int) override {}
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes) override {
    return {std::vector<std::byte>(bytes.begin(), bytes.end())};
  }
  void barrier() override {}
  void wait_until(const char* name, const std::function<CollectiveState()>& look) override {
    auto start = std::chrono::steady_clock::now();
    for (Backoff backoff;; backoff.pause()) {
      const CollectiveState state = look();
      if (state == CollectiveState::done) return;
      const auto now = std::chrono::steady_clock::now();
      if (state == CollectiveState::working) start = now;
      if (now - start <= timeout_) continue;
      throw CommunicationError(std::string(name) + " made no progress for " + in_seconds(timeout_) +
                               "; give a longer timeout if it needs that long");
    }
  }
  void give_up(ErrorKind, const std::string&) noexcept override {}
  void pulse() override {}

 private:
  std::chrono::milliseconds timeout_;
  std::string host_name_ = local_host_name();
};

}  // namespace tally
