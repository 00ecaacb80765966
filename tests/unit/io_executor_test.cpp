#include "core/io_executor.hpp"

#include <atomic>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.hpp"

namespace tally {
namespace {

TEST(IoExecutor, JobsRunInTheOrderTheyCame) {
  IoExecutor io;
  std::vector<int> order;

  for (int i = 0; i < 1000; ++i) io.post([&order, i] { order.push_back(i); });
  io.run([] {});

  std::vector<int> expected(1000);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
}

TEST(IoExecutor, EveryJobRunsOnOneThreadThatIsNotTheCallers) {
  IoExecutor io;

  const auto first = io.run([] { return std::this_thread::get_id(); });
  const auto second = io.run([] { return std::this_thread::get_id(); });
  std::thread::id posted;
  io.post([&posted] { posted = std::this_thread::get_id(); });
  io.run([] {});

  EXPECT_EQ(first, second);
  EXPECT_EQ(first, posted);
  EXPECT_NE(first, std::this_thread::get_id());
}

TEST(IoExecutor, AJobMayRunAnotherJob) {
  IoExecutor io;

  const int result = io.run([&io] { return io.run([] { return 42; }); });

  EXPECT_EQ(result, 42);
}

TEST(IoExecutor, AnExceptionReachesTheCallerAndTheNextJobRuns) {
  IoExecutor io;

  EXPECT_THROW(io.run([] { throw DataError("broken"); }), DataError);
  EXPECT_EQ(io.run([] { return 7; }), 7);
}

TEST(IoExecutor, DestructionRunsWhatIsQueued) {
  std::atomic<int> ran = 0;

  {
    IoExecutor io;
    for (int i = 0; i < 100; ++i) io.post([&ran] { ++ran; });
  }

  EXPECT_EQ(ran, 100);
}

TEST(IoExecutor, TwoExecutorsInOneProcessTakeTurns) {
  IoExecutor one, other;
  std::atomic<int> inside = 0;
  std::atomic<bool> overlapped = false;
  const auto job = [&] {
    if (++inside > 1) overlapped = true;
    std::this_thread::yield();
    --inside;
  };

  for (int i = 0; i < 500; ++i) {
    one.post(job);
    other.post(job);
  }
  one.run([] {});
  other.run([] {});

  EXPECT_FALSE(overlapped);
}

TEST(IoExecutor, ResultsMayBeMoveOnly) {
  IoExecutor io;

  const auto result = io.run([] { return std::make_unique<int>(3); });

  EXPECT_EQ(*result, 3);
}

}  // namespace
}  // namespace tally
