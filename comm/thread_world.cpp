#include "comm/thread_world.hpp"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "comm/agreement.hpp"
#include "comm/backoff.hpp"
#include "comm/in_seconds.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

enum class Collective { sum_integers, sum_doubles, sum_and_max, broadcast, gather, barrier };

// What a rank brings to a collective; the pointers stay valid until the collective ends or the world has failed.
struct Call {
  Collective collective = Collective::barrier;
  std::size_t length = 0;
  std::size_t second_length = 0;
  int root = 0;
  void* values = nullptr;
  void* second_values = nullptr;
  std::span<const std::byte> contribution = {};
  std::vector<std::vector<std::byte>>* gathered = nullptr;

  bool fits(const Call& other) const {
    return collective == other.collective && length == other.length && second_length == other.second_length &&
           root == other.root;
  }
};

std::string describe(const Call& call) {
  const std::string length = std::to_string(call.length);
  switch (call.collective) {
    case Collective::sum_integers:
      return "sum of " + length + " integers";
    case Collective::sum_doubles:
      return "sum of " + length + " doubles";
    case Collective::sum_and_max:
      return "sum_and_max of " + length + " sums and " + std::to_string(call.second_length) + " maxima";
    case Collective::broadcast:
      return "broadcast of " + length + " bytes from rank " + std::to_string(call.root);
    case Collective::gather:
      return "gather";
    case Collective::barrier:
      break;
  }
  return "barrier";
}

// What the ranks share. One mutex guards all of it; the last rank to arrive does the work of all.
class World {
 public:
  World(int size, const ThreadWorldOptions& options)
      : timeout_(options.timeout), ranks_(static_cast<std::size_t>(size)) {
    std::vector<int> nodes = options.ranks_per_node;
    if (nodes.empty()) nodes.push_back(size);
    const bool negative = std::any_of(nodes.begin(), nodes.end(), [](int ranks) { return ranks < 0; });
    if (size < 1 || negative || std::accumulate(nodes.begin(), nodes.end(), 0) != size) {
      throw UsageError("a world of " + std::to_string(size) +
                       " ranks needs at least one rank, and hosts that " + "have as many in total");
    }
    auto rank = ranks_.begin();
    for (std::size_t node = 0; node < nodes.size(); ++node) {
      for (int node_rank = 0; node_rank < nodes[node]; ++node_rank, ++rank) {
        rank->node_rank = node_rank;
        rank->host_name = "node" + std::to_string(node);
      }
    }
  }

  int size() const noexcept { return static_cast<int>(ranks_.size()); }
  int node_rank(int rank) const noexcept { return at(rank).node_rank; }
  const std::string& host_name(int rank) const noexcept { return at(rank).host_name; }

  void enter(int rank, const Call& call) {
    std::unique_lock lock(mutex_);
    throw_if_failed(rank);
    at(rank).call = call;
    at(rank).last_sign_of_life = last_move_ = std::chrono::steady_clock::now();
    if (++arrived_ == size()) {
      finish_collective();
      throw_if_failed(rank);
      return;
    }
    for (int other = 0; other < size(); ++other) {
      if (at(other).left) fail_by_leaving(other, rank);
    }
    wait_for_others(lock, rank);
  }

  void wait_until(int rank, const char* name, const std::function<CollectiveState()>& look) {
    begin_wait(rank, name);
    try {
      Backoff backoff;
      for (CollectiveState state = look(); state != CollectiveState::done; state = look()) {
        watch(rank, state);
        backoff.pause();
      }
    } catch (...) {
      end_wait(rank);
      throw;
    }
    end_wait(rank);
  }

  void give_up(int rank, ErrorKind kind, const std::string& message) {
    const std::lock_guard lock(mutex_);
    if (failure_) return;
    reporter_ = rank;
    fail({kind, message});
  }

  void pulse(int rank) {
    const std::lock_guard lock(mutex_);
    throw_if_failed(rank);
    at(rank).last_sign_of_life = std::chrono::steady_clock::now();
  }

  // The rank's body has ended, by `exception` where that is not null.
  void leave(int rank, const std::exception_ptr& exception) {
    const std::lock_guard lock(mutex_);
    at(rank).left = true;
    at(rank).last_sign_of_life = std::chrono::steady_clock::now();
    if (exception) {
      if (!first_exception_) first_exception_ = exception;
      const std::string reason = describe_failure(exception).message;
      fail({ErrorKind::communication, name_of(rank) + " failed: " + reason});
    } else {
      for (int other = 0; other < size(); ++other) {
        if (at(other).call) fail_by_leaving(rank, other);
      }
    }
  }

  // Once all threads have been joined.
  void rethrow_first_exception() const {
    if (first_exception_) std::rethrow_exception(first_exception_);
  }

 private:
  struct Rank {
    int node_rank = 0;
    std::string host_name = {};
    std::optional<Call> call = {};      // the collective it waits in
    const char* waits_until = nullptr;  // what else it waits for
    SteadyTime last_sign_of_life = std::chrono::steady_clock::now();
    SteadyTime wait_began = {};
    bool left = false;

    bool waits() const { return call || waits_until; }
  };

  Rank& at(int rank) noexcept { return ranks_[static_cast<std::size_t>(rank)]; }
  const Rank& at(int rank) const noexcept { return ranks_[static_cast<std::size_t>(rank)]; }

  std::string name_of(int rank) const { return "rank " + std::to_string(rank) + " on " + at(rank).host_name; }

  void fail(Failure failure) {
    if (!failure_) failure_ = std::move(failure);
    changed_.notify_all();
  }

  void fail_by_leaving(int gone, int waiting) {
    fail({ErrorKind::communication,
          name_of(gone) + " has ended while " + name_of(waiting) + " waited in " + what_holds(waiting)});
  }

  void fail_by_silence(int silent, int waiting) {
    // What is waited for may have ended on all: then a rank that has left is no reason to fail, at first.
    if (at(silent).left) return fail_by_leaving(silent, waiting);
    fail({ErrorKind::communication, name_of(silent) + " gave no sign of life for " +
                                        std::to_string(timeout_.count()) + " ms while " + name_of(waiting) +
                                        " waited in " + what_holds(waiting)});
  }

  void fail_by_standstill() {
    std::string where;
    for (int rank = 0; rank < size(); ++rank)
      where += (rank == 0 ? "" : ", ") + name_of(rank) + " waits in " + what_holds(rank);
    reporter_ = 0;
    fail({ErrorKind::communication,
          "no rank made progress for " + in_seconds(timeout_) + " although all are alive: " + where});
  }

  std::string what_holds(int rank) const {
    return at(rank).call ? describe(*at(rank).call) : at(rank).waits_until;
  }

  void throw_if_failed(int rank) const {
    if (!failure_) return;
    if (reporter_ && *reporter_ != rank) throw_relayed(*failure_);
    throw_error(failure_->kind, failure_->message);
  }

  void begin_wait(int rank, const char* name) {
    const std::lock_guard lock(mutex_);
    throw_if_failed(rank);
    at(rank).waits_until = name;
    at(rank).last_sign_of_life = at(rank).wait_began = last_move_ = std::chrono::steady_clock::now();
  }

  void end_wait(int rank) {
    const std::lock_guard lock(mutex_);
    at(rank).waits_until = nullptr;
    at(rank).last_sign_of_life = last_move_ = std::chrono::steady_clock::now();
  }

  // What a rank does between two looks.
  void watch(int rank, CollectiveState state) {
    const std::lock_guard lock(mutex_);
    throw_if_failed(rank);
    const SteadyTime now = std::chrono::steady_clock::now();
    at(rank).last_sign_of_life = now;
    if (state == CollectiveState::working) last_move_ = now;
    const Deadline deadline = next_deadline(rank, at(rank).wait_began);
    if (now < deadline.time) return;
    fail_at(deadline, rank);
    throw_if_failed(rank);
  }

  // When somebody counts as lost: a rank, or none where all wait for each other.
  struct Deadline {
    SteadyTime time = SteadyTime::max();
    std::optional<int> silent_rank = {};
  };

  // For a rank that has waited since `start`. Whoever waits in a collective is alive; others must have shown it.
  Deadline next_deadline(int rank, SteadyTime start) const {
    Deadline next;
    bool all_wait = true;
    for (int other = 0; other < size(); ++other) {
      all_wait = all_wait && at(other).waits();
      if (other == rank || at(other).call) continue;
      const SteadyTime time = std::max(start, at(other).last_sign_of_life) + timeout_;
      if (time < next.time) next = {time, other};
    }
    if (all_wait && last_move_ + timeout_ < next.time) next = {last_move_ + timeout_, std::nullopt};
    return next;
  }

  void fail_at(const Deadline& deadline, int rank) {
    if (deadline.silent_rank) {
      fail_by_silence(*deadline.silent_rank, rank);
    } else {
      fail_by_standstill();
    }
  }

  void wait_for_others(std::unique_lock<std::mutex>& lock, int rank) {
    const SteadyTime start = std::chrono::steady_clock::now();
    const auto collective = finished_collectives_;
    while (finished_collectives_ == collective && !failure_) {
      const Deadline deadline = next_deadline(rank, start);
      if (std::chrono::steady_clock::now() >= deadline.time) {
        fail_at(deadline, rank);
      } else {
        changed_.wait_until(lock, deadline.time);
      }
    }
    if (finished_collectives_ == collective) throw_if_failed(rank);
  }

  void finish_collective() {
    const Call& first = *ranks_[0].call;
    for (int rank = 1; rank < size(); ++rank) {
      const Call& call = *at(rank).call;
      if (!call.fits(first)) {
        fail({ErrorKind::other, name_of(0) + " called " + describe(first) + " while " + name_of(rank) +
                                    " called " + describe(call)});
        return;
      }
    }
    perform(first);
    for (Rank& rank : ranks_) rank.call.reset();
    arrived_ = 0;
    ++finished_collectives_;
    last_move_ = std::chrono::steady_clock::now();
    changed_.notify_all();
  }

  void perform(const Call& call) {
    switch (call.collective) {
      case Collective::sum_integers:
        combine<std::int64_t>(&Call::values, &Call::length, std::plus<>());
        break;
      case Collective::sum_doubles:
        combine<double>(&Call::values, &Call::length, std::plus<>());
        break;
      case Collective::sum_and_max:
        combine<std::int64_t>(&Call::values, &Call::length, std::plus<>());
        combine<std::int64_t>(&Call::second_values, &Call::second_length,
                              [](std::int64_t a, std::int64_t b) { return std::max(a, b); });
        break;
      case Collective::broadcast: {
        const auto* source = static_cast<const std::byte*>(at(call.root).call->values);
        for (Rank& rank : ranks_) {
          auto* target = static_cast<std::byte*>(rank.call->values);
          if (target != source) std::copy_n(source, call.length, target);
        }
        break;
      }
      case Collective::gather:
        for (const Rank& rank : ranks_) {
          call.gathered->emplace_back(rank.call->contribution.begin(), rank.call->contribution.end());
        }
        break;
      case Collective::barrier:
        break;
    }
  }

  // Folds the buffers of all ranks in rank order and gives each the result.
  template <class T, class Operation>
  void combine(void* Call::*values, std::size_t Call::*length, Operation operation) {
    const auto values_of = [&](const Rank& rank) { return static_cast<T*>((*rank.call).*values); };
    const std::size_t count = (*ranks_[0].call).*length;
    T* result = values_of(ranks_[0]);
    for (std::size_t r = 1; r < ranks_.size(); ++r) {
      std::transform(result, result + count, values_of(ranks_[r]), result, operation);
    }
    for (std::size_t r = 1; r < ranks_.size(); ++r) std::copy_n(result, count, values_of(ranks_[r]));
  }

  std::chrono::milliseconds timeout_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Rank> ranks_;
  int arrived_ = 0;
  std::uint64_t finished_collectives_ = 0;
  SteadyTime last_move_ = std::chrono::steady_clock::now();  // of any rank into, within or out of a wait
  std::optional<Failure> failure_;                           // once set, no collective succeeds any more
  std::optional<int> reporter_;                              // who reports it; otherwise whoever is caught
  std::exception_ptr first_exception_;
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(World& world, int rank) : world_(world), rank_(rank) {}

  int rank() const noexcept override { return rank_; }
  int size() const noexcept override { return world_.size(); }
  int node_rank() const noexcept override { return world_.node_rank(rank_); }
  const std::string& host_name() const noexcept override { return world_.host_name(rank_); }

  void sum(std::span<std::int64_t> values) override {
    world_.enter(rank_,
                 {.collective = Collective::sum_integers, .length = values.size(), .values = values.data()});
  }
  void sum(std::span<double> values) override {
    world_.enter(rank_,
                 {.collective = Collective::sum_doubles, .length = values.size(), .values = values.data()});
  }
  void sum_and_max(std::span<std::int64_t> sums, std::span<std::int64_t> maxima) override {
    world_.enter(rank_, {.collective = Collective::sum_and_max,
                         .length = sums.size(),
                         .second_length = maxima.size(),
                         .values = sums.data(),
                         .second_values = maxima.data()});
  }
  void broadcast(std::span<std::byte> bytes, int root) override {
    if (root < 0 || root >= size())
      throw UsageError("broadcast from rank " + std::to_string(root) + ", which is none");
    world_.enter(
        rank_,
        {.collective = Collective::broadcast, .length = bytes.size(), .root = root, .values = bytes.data()});
  }
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes) override {
    std::vector<std::vector<std::byte>> gathered;
    world_.enter(rank_, {.collective = Collective::gather, .contribution = bytes, .gathered = &gathered});
    return gathered;
  }
  void barrier() override { world_.enter(rank_, {.collective = Collective::barrier}); }
  void wait_until(const char* name, const std::function<CollectiveState()>& look) override {
    world_.wait_until(rank_, name, look);
  }
  void give_up(ErrorKind kind, const std::string& message) noexcept override {
    world_.give_up(rank_, kind, message);
  }
  void pulse() override { world_.pulse(rank_); }

 private:
  World& world_;
  int rank_;
};

void run_rank(World& world, int rank, const std::function<void(Communicator&)>& body) {
  std::exception_ptr exception;
  try {
    ThreadCommunicator communicator(world, rank);
    body(communicator);
  } catch (...) {
    exception = std::current_exception();
  }
  world.leave(rank, exception);
}

}  // namespace

void run_in_threads(int size, const std::function<void(Communicator&)>& body,
                    const ThreadWorldOptions& options) {
  World world(size, options);
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < size; ++rank)
      threads.emplace_back(run_rank, std::ref(world), rank, std::cref(body));
  }
  world.rethrow_first_exception();
}

}  // namespace tally
