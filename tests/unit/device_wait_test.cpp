#include "comm/device_wait.hpp"

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/agreement.hpp"
#include "comm/single_process.hpp"
#include "comm/thread_world.hpp"
#include "core/error.hpp"
#include "tests/unit/fake_device_sum.hpp"

namespace tally {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto timeout = 400ms;
constexpr auto longest_notice = 20 * timeout;  // generous: the machine may be busy

// What became of a rank that waited for its device's sum.
struct Ending {
  std::string error;  // "kind: message", empty where it went well
  bool relayed = false;
  bool aborted = false;
};

// What a rank does: it gets its own sum.
using Body = std::function<void(Communicator&, FakeDeviceSum&)>;

void wait_for_sum(Communicator& comm, FakeDeviceSum& sum) {
  wait_for(sum, comm);
}

// What the devices of a world of threads share.
struct SharedMemory {
  SharedMemory(int ranks, std::size_t length)
      : numbers(SharedSums::bytes(ranks, length) / sizeof(std::int64_t)), sums(numbers.data(), ranks, length) {}
  std::vector<std::int64_t> numbers;
  SharedSums sums;
};

// Runs `body` on three ranks; the device of `faulty_rank` has these faults.
std::vector<Ending> endings(const Body& body, int faulty_rank = 0, const FakeDeviceFaults& faults = {}) {
  constexpr int size = 3;
  const SharedMemory memory(size, 1);
  std::vector<Ending> all(static_cast<std::size_t>(size));
  const auto start = std::chrono::steady_clock::now();
  const auto run_rank = [&](Communicator& comm) {
    Ending& ending = all[static_cast<std::size_t>(comm.rank())];
    std::vector<std::int64_t> values = {1};
    FakeDeviceSum sum(values, memory.sums, comm.rank(), comm.rank() == faulty_rank ? faults : FakeDeviceFaults{});
    try {
      body(comm, sum);
    } catch (const Error& error) {
      ending.error = std::to_string(static_cast<int>(error.kind())) + ": " + error.what();
      ending.relayed = dynamic_cast<const RelayedFailure*>(&error) != nullptr;
      ending.aborted = sum.aborted();
      throw;
    }
  };
  try {
    run_in_threads(size, run_rank, {.timeout = timeout});
  } catch (const Error&) {  // each rank has noted its own
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, longest_notice);
  return all;
}

void expect_sums(const std::vector<Ending>& all) {
  for (const Ending& ending : all) EXPECT_EQ(ending.error, "");
}

void expect_relayed(const Ending& ending, const std::string& error) {
  EXPECT_EQ(ending.error, error);
  EXPECT_TRUE(ending.relayed);
  EXPECT_TRUE(ending.aborted);
}

TEST(DeviceWait, EveryRankGetsTheSum) {
  for (const int size : {1, 2, 3, 8}) {
    const SharedMemory memory(size, 2);

    run_in_threads(size, [&](Communicator& comm) {
      const std::int64_t r = comm.rank(), n = comm.size();
      std::vector<std::int64_t> values(2);
      FakeDeviceSum sum(values, memory.sums, comm.rank(), {.computing = 3ms * r, .transport = 2ms * (n - r)});
      for (std::int64_t round = 0; round < 5; ++round) {
        values = {r + 1, round};

        wait_for(sum, comm);

        EXPECT_THAT(values, ElementsAre(n * (n + 1) / 2, n * round));
        comm.pulse();
        if (round % 2 == 0) comm.barrier();
      }
      EXPECT_FALSE(sum.aborted());
    });
  }
}

TEST(DeviceWait, ADeviceThatDoesNotStartEndsAllRanks) {
  const auto all = endings(wait_for_sum, 1, {.start_fails = true});

  EXPECT_EQ(all[1].error, "4: rank 1 on node0: the device refuses to start");
  EXPECT_FALSE(all[1].relayed);
  EXPECT_TRUE(all[1].aborted);
  expect_relayed(all[0], "4: rank 1 on node0: the device refuses to start");
  expect_relayed(all[2], "4: rank 1 on node0: the device refuses to start");
}

TEST(DeviceWait, ADeviceThatIsLostEndsAllRanks) {
  // It never joins the sum, so that the others could not end by themselves.
  const auto all = endings(wait_for_sum, 2, {.poll_fails = true, .never_ends = true});

  EXPECT_EQ(all[2].error, "4: rank 2 on node0: the device fell off the bus");
  EXPECT_FALSE(all[2].relayed);
  EXPECT_TRUE(all[2].aborted);
  expect_relayed(all[0], "4: rank 2 on node0: the device fell off the bus");
  expect_relayed(all[1], "4: rank 2 on node0: the device fell off the bus");
}

TEST(DeviceWait, ALostDeviceEndsRanksThatWorkOrWaitElsewhere) {
  const Body body = [](Communicator& comm, FakeDeviceSum& sum) {
    if (comm.rank() == 1) comm.barrier();
    while (comm.rank() == 2) comm.pulse();
    wait_for(sum, comm);
  };

  const auto all = endings(body, 0, {.start_fails = true});

  EXPECT_EQ(all[1].error, "4: rank 0 on node0: the device refuses to start");
  EXPECT_EQ(all[2].error, "4: rank 0 on node0: the device refuses to start");
  EXPECT_TRUE(all[1].relayed && all[2].relayed);
}

TEST(DeviceWait, ASumThatMakesNoProgressEndsWithAnError) {
  const auto start = std::chrono::steady_clock::now();

  const auto all = endings(wait_for_sum, 1, {.never_ends = true});

  EXPECT_GE(std::chrono::steady_clock::now() - start, timeout);
  EXPECT_THAT(all[0].error, AllOf(HasSubstr("5: no rank made progress for 0.4 s although all are alive"),
                                  HasSubstr("rank 2 on node0 waits in the sum on the devices")));
  EXPECT_FALSE(all[0].relayed);
  EXPECT_TRUE(all[0].aborted);
  expect_relayed(all[1], all[0].error);
  expect_relayed(all[2], all[0].error);
}

TEST(DeviceWait, ARankInAnotherCollectiveIsNamed) {
  const auto all = endings([](Communicator& comm, FakeDeviceSum& sum) {
    if (comm.rank() == 1) comm.barrier();
    wait_for(sum, comm);
  });

  EXPECT_THAT(all[0].error, AllOf(HasSubstr("rank 0 on node0 waits in the sum on the devices"),
                                  HasSubstr("rank 1 on node0 waits in barrier")));
  EXPECT_TRUE(all[0].aborted && all[2].aborted);
  EXPECT_EQ(all[1].error, all[0].error);
}

TEST(DeviceWait, ASilentRankIsNamedAfterTheTimeout) {
  const auto all = endings([](Communicator& comm, FakeDeviceSum& sum) {
    if (comm.rank() == 1) std::this_thread::sleep_for(4 * timeout);
    wait_for(sum, comm);
  });

  EXPECT_THAT(all[0].error, HasSubstr("5: rank 1 on node0 gave no sign of life for 400 ms while rank "));
  EXPECT_TRUE(all[0].aborted && all[2].aborted);
}

TEST(DeviceWait, ARankThatEndsEarlyEndsThoseWhoWait) {
  const auto all = endings([](Communicator& comm, FakeDeviceSum& sum) {
    if (comm.rank() != 1) wait_for(sum, comm);
  });

  EXPECT_THAT(all[0].error, HasSubstr("5: rank 1 on node0 has ended while rank "));
  EXPECT_TRUE(all[0].aborted && all[2].aborted);
}

TEST(DeviceWait, ARankThatHasItsSumMayLeaveBeforeTheOthersHaveTheirs) {
  const auto all = endings(wait_for_sum, 1, {.transport = timeout / 4});

  expect_sums(all);
}

TEST(DeviceWait, ASlowRankIsWaitedFor) {
  const auto all = endings([](Communicator& comm, FakeDeviceSum& sum) {
    const auto start = std::chrono::steady_clock::now();
    while (comm.rank() == 1 && std::chrono::steady_clock::now() - start < 3 * timeout) {
      std::this_thread::sleep_for(20ms);
      comm.pulse();
    }
    wait_for(sum, comm);
  });

  expect_sums(all);
}

TEST(DeviceWait, ASlowDeviceIsWaitedFor) {
  const auto all = endings(wait_for_sum, 1, {.computing = 3 * timeout});

  expect_sums(all);
}

TEST(DeviceWait, AnIdComesFromRankZero) {
  run_in_threads(3, [](Communicator& comm) {
    std::array<std::byte, 4> id = {};

    share_id(
        id, [](std::span<std::byte> made) { made[3] = std::byte{9}; }, comm);

    EXPECT_EQ(id[3], std::byte{9});
  });
}

TEST(DeviceWait, AnIdThatCannotBeMadeIsAnErrorEverywhere) {
  run_in_threads(3, [](Communicator& comm) {
    std::array<std::byte, 4> id = {};

    EXPECT_THROW(share_id(
                     id, [](std::span<std::byte>) { throw DeviceError("no network"); }, comm),
                 DeviceError);
  });
}

TEST(DeviceWait, ALoneProcessWaitsWithADeadlineToo) {
  const SharedMemory memory(1, 1);
  std::vector<std::int64_t> values = {7};
  SingleProcess comm(timeout);
  FakeDeviceSum good(values, memory.sums, 0, {.computing = 2 * timeout});
  FakeDeviceSum bad(values, memory.sums, 0, {.never_ends = true});

  wait_for(good, comm);
  EXPECT_THROW(wait_for(bad, comm), CommunicationError);

  EXPECT_FALSE(good.aborted());
  EXPECT_TRUE(bad.aborted());
  EXPECT_THAT(values, ElementsAre(7));
}

}  // namespace
}  // namespace tally
