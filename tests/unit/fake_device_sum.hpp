#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <thread>

#include "core/device_collective.hpp"
#include "core/error.hpp"

namespace tally {

// The world of the fake devices: numbers in memory that all ranks share, threads or processes.
class SharedSums {
 public:
  static std::size_t bytes(int ranks, std::size_t length) {
    return static_cast<std::size_t>(ranks) * (1 + 2 * length) * sizeof(std::int64_t);
  }
  // `memory` is bytes(ranks, length) of zeros, aligned for integers.
  SharedSums(void* memory, int ranks, std::size_t length)
      : joined_(static_cast<std::int64_t*>(memory)),
        values_(joined_ + ranks),
        ranks_(ranks),
        length_(length) {}

  // Writes the sums over ranks into `values`, once all have joined; false where it was asked to stop before.
  bool add(int rank, std::span<std::int64_t> values, const std::stop_token& stop) const {
    const auto own = std::atomic_ref(joined_[rank]);
    const std::int64_t round = own.load() + 1;
    // Whoever joins the next round but one knows that all have read this one: two buffers are enough.
    std::copy(values.begin(), values.end(), buffer(rank, round));
    own.store(round);
    std::fill(values.begin(), values.end(), 0);
    for (int other = 0; other < ranks_; ++other) {
      while (std::atomic_ref(joined_[other]).load() < round) {
        if (stop.stop_requested()) return false;
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
      std::transform(values.begin(), values.end(), buffer(other, round), values.begin(), std::plus<>());
    }
    return true;
  }

 private:
  std::int64_t* buffer(int rank, std::int64_t round) const {
    return values_ + (static_cast<std::size_t>(rank) * 2 + static_cast<std::size_t>(round % 2)) * length_;
  }

  std::int64_t* joined_;  // (ranks): the round that each has joined
  std::int64_t* values_;  // (ranks, 2, length)
  int ranks_;
  std::size_t length_;
};

struct FakeDeviceFaults {
  std::chrono::milliseconds computing{0};  // the device is busy with earlier work before it joins the sum
  std::chrono::milliseconds transport{0};  // how long this rank waits for the result once all have joined
  bool start_fails = false;
  bool poll_fails = false;  // once the sum is pending
  bool never_ends = false;  // it does not even join the sum
};

// A device's sum without a device: a thread of its own does it. Its buffer must not be touched while it is pending.
class FakeDeviceSum final : public DeviceCollective {
 public:
  FakeDeviceSum(std::span<std::int64_t> values, const SharedSums& sums, int rank,
                const FakeDeviceFaults& faults = {})
      : values_(values), sums_(sums), rank_(rank), faults_(faults) {}

  const char* name() const noexcept override { return "the sum on the devices"; }

  void start() override {
    if (aborted_) throw DeviceError("the device was lost");
    if (faults_.start_fails) throw DeviceError("the device refuses to start");
    state_ = CollectiveState::working;
    worker_ = std::jthread([this](const std::stop_token& stop) { work(stop); });
  }

  CollectiveState poll() override {
    ++polls_;
    const CollectiveState state = state_;
    if (state == CollectiveState::waiting && faults_.poll_fails)
      throw DeviceError("the device fell off the bus");
    if (state == CollectiveState::done && worker_.joinable()) worker_.join();
    return state;
  }

  void abort() noexcept override {
    aborted_ = true;
    worker_ = {};  // asks it to stop and joins
  }

  bool aborted() const noexcept { return aborted_; }
  int polls() const noexcept { return polls_; }

 private:
  static bool sleep(std::chrono::milliseconds time, const std::stop_token& stop) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (!stop.stop_requested() && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return !stop.stop_requested();
  }

  void work(const std::stop_token& stop) {
    if (!sleep(faults_.computing, stop)) return;
    state_ = CollectiveState::waiting;
    while (faults_.never_ends)
      if (!sleep(std::chrono::milliseconds(5), stop)) return;
    if (sums_.add(rank_, values_, stop) && sleep(faults_.transport, stop)) state_ = CollectiveState::done;
  }

  std::span<std::int64_t> values_;
  SharedSums sums_;
  int rank_;
  FakeDeviceFaults faults_;
  std::atomic<CollectiveState> state_ = CollectiveState::working;
  std::atomic<bool> aborted_ = false;
  int polls_ = 0;
  std::jthread worker_;
};

}  // namespace tally
