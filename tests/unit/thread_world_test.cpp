#include "comm/thread_world.hpp"

#include <atomic>
#include <chrono>
#include <span>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/single_process.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int world_sizes[] = {1, 2, 3, 8};

// What `call` throws, as "kind: message"; empty where it throws nothing.
template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return std::to_string(static_cast<int>(error.kind())) + ": " + error.what();
  }
  return {};
}

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TEST(ThreadWorld, EveryRankGetsTheSum) {
  for (const int size : world_sizes) {
    run_in_threads(size, [](Communicator& comm) {
      std::vector<std::int64_t> integers = {comm.rank() + 1, std::int64_t{1} << 55};
      std::vector<double> doubles = {0.5 * comm.rank()};

      comm.sum(integers);
      comm.sum(doubles);

      const std::int64_t n = comm.size();
      EXPECT_THAT(integers, ElementsAre(n * (n + 1) / 2, n << 55));
      EXPECT_THAT(doubles, ElementsAre(0.25 * static_cast<double>(n * (n - 1))));
    });
  }
}

TEST(ThreadWorld, SumAndMaxKeepsThePartsApart) {
  for (const int size : world_sizes) {
    run_in_threads(size, [](Communicator& comm) {
      const std::int64_t r = comm.rank();
      std::vector<std::int64_t> sums = {1, r};
      std::vector<std::int64_t> maxima = {r, -r, -7};
      std::vector<std::int64_t> none;

      comm.sum_and_max(sums, maxima);
      comm.sum_and_max(none, none);

      const std::int64_t n = comm.size();
      EXPECT_THAT(sums, ElementsAre(n, n * (n - 1) / 2));
      EXPECT_THAT(maxima, ElementsAre(n - 1, 0, -7));
    });
  }
}

TEST(ThreadWorld, BroadcastGivesTheRootsBytes) {
  for (const int size : world_sizes) {
    run_in_threads(size, [](Communicator& comm) {
      for (int root = 0; root < comm.size(); ++root) {
        std::vector<std::byte> bytes = bytes_of("from " + std::to_string(comm.rank()));

        comm.broadcast(bytes, root);

        EXPECT_EQ(bytes, bytes_of("from " + std::to_string(root)));
      }
    });
  }
}

TEST(ThreadWorld, GatherKeepsRankOrderAndLengths) {
  for (const int size : world_sizes) {
    run_in_threads(size, [](Communicator& comm) {
      const auto text = [](int rank) {
        return std::string(static_cast<std::size_t>(rank), static_cast<char>('a' + rank));
      };

      const auto gathered = comm.gather(bytes_of(text(comm.rank())));

      ASSERT_EQ(gathered.size(), comm.rank() == 0 ? static_cast<std::size_t>(comm.size()) : 0);
      for (std::size_t r = 0; r < gathered.size(); ++r) {
        EXPECT_EQ(gathered[r], bytes_of(text(static_cast<int>(r))));
      }
    });
  }
}

TEST(ThreadWorld, NobodyLeavesABarrierBeforeAllHaveEntered) {
  std::atomic<int> entered = 0;

  run_in_threads(4, [&](Communicator& comm) {
    for (int round = 1; round <= 200; ++round) {
      ++entered;
      comm.barrier();
      EXPECT_GE(entered, 4 * round);
      comm.barrier();
    }
  });

  EXPECT_EQ(entered, 800);
}

TEST(ThreadWorld, NodesAreFilledInRankOrder) {
  const ThreadWorldOptions options{.ranks_per_node = {2, 3}};
  std::vector<std::string> places(5);

  run_in_threads(
      5,
      [&](Communicator& comm) {
        places[static_cast<std::size_t>(comm.rank())] =
            comm.host_name() + "." + std::to_string(comm.node_rank());
      },
      options);

  EXPECT_THAT(places, ElementsAre("node0.0", "node0.1", "node1.0", "node1.1", "node1.2"));
}

TEST(ThreadWorld, NodesThatDoNotAddUpAreRefused) {
  const ThreadWorldOptions options{.ranks_per_node = {2, 2}};

  EXPECT_THROW(run_in_threads(
                   5, [](Communicator&) {}, options),
               UsageError);
  EXPECT_THROW(run_in_threads(0, [](Communicator&) {}), UsageError);
}

TEST(ThreadWorld, AnExceptionEndsTheOthersAndIsRethrown) {
  std::vector<std::string> errors(4);

  const std::string rethrown = error_of([&] {
    run_in_threads(4, [&](Communicator& comm) {
      if (comm.rank() == 2) throw DataError("row 7 is torn");
      errors[static_cast<std::size_t>(comm.rank())] = error_of([&] { comm.barrier(); });
      comm.barrier();
    });
  });

  EXPECT_EQ(rethrown, "3: row 7 is torn");
  const std::string others = "5: rank 2 on node0 failed: row 7 is torn";
  EXPECT_THAT(errors, ElementsAre(others, others, "", others));
}

TEST(ThreadWorld, ALostPeerEndsPulsesToo) {
  const auto run = [] {
    run_in_threads(2, [](Communicator& comm) {
      if (comm.rank() == 0) throw DeviceError("no device");
      for (;;) comm.pulse();
    });
  };

  EXPECT_THROW(run(), DeviceError);
}

TEST(ThreadWorld, ARankThatEndsEarlyEndsThoseWhoWait) {
  const std::string error = error_of([] {
    run_in_threads(3, [](Communicator& comm) {
      if (comm.rank() != 1) comm.barrier();
    });
  });

  EXPECT_THAT(error, HasSubstr("5: rank 1 on node0 has ended while rank "));
}

TEST(ThreadWorld, ASilentRankIsNamedAfterTheTimeout) {
  const auto start = std::chrono::steady_clock::now();

  const std::string error = error_of([] {
    run_in_threads(3,
                   [](Communicator& comm) {
                     if (comm.rank() == 1) std::this_thread::sleep_for(600ms);
                     comm.barrier();
                   },
                   {.timeout = 100ms});
  });

  EXPECT_THAT(error, HasSubstr("5: rank 1 on node0 gave no sign of life for 100 ms"));
  EXPECT_GE(std::chrono::steady_clock::now() - start, 100ms);
}

TEST(ThreadWorld, ASlowRankThatPulsesIsWaitedFor) {
  const auto run = [] {
    run_in_threads(3,
                   [](Communicator& comm) {
                     for (int block = 0; comm.rank() == 1 && block < 40; ++block) {
                       std::this_thread::sleep_for(20ms);
                       comm.pulse();
                     }
                     comm.barrier();
                   },
                   {.timeout = 400ms});
  };

  EXPECT_NO_THROW(run());
}

TEST(ThreadWorld, DifferentCollectivesAreNamed) {
  const std::string error = error_of([] {
    run_in_threads(2, [](Communicator& comm) {
      std::vector<std::int64_t> values(5);
      std::vector<std::byte> bytes(8);
      if (comm.rank() == 0) comm.sum(values);
      if (comm.rank() == 1) comm.broadcast(bytes, 1);
    });
  });

  EXPECT_EQ(error,
            "1: rank 0 on node0 called sum of 5 integers while rank 1 on node0 called broadcast of 8 bytes "
            "from rank 1");
}

TEST(ThreadWorld, DifferentLengthsAreNamed) {
  const std::string error = error_of([] {
    run_in_threads(3, [](Communicator& comm) {
      std::vector<std::int64_t> sums(comm.rank() == 2 ? 4 : 3);
      std::vector<std::int64_t> maxima(2);
      comm.sum_and_max(sums, maxima);
    });
  });

  EXPECT_EQ(error,
            "1: rank 0 on node0 called sum_and_max of 3 sums and 2 maxima while rank 2 on node0 called "
            "sum_and_max of "
            "4 sums and 2 maxima");
}

TEST(SingleProcess, EveryCollectiveIsTheIdentity) {
  SingleProcess comm;
  std::vector<std::int64_t> sums = {1, 2};
  std::vector<std::int64_t> maxima = {-3};
  const std::vector<std::byte> bytes = bytes_of("alone");

  comm.sum(sums);
  comm.sum_and_max(sums, maxima);

  EXPECT_THAT(sums, ElementsAre(1, 2));
  EXPECT_THAT(maxima, ElementsAre(-3));
  EXPECT_THAT(comm.gather(bytes), ElementsAre(bytes));
  EXPECT_EQ(comm.size(), 1);
  EXPECT_FALSE(comm.host_name().empty());
}

}  // namespace
}  // namespace tally
