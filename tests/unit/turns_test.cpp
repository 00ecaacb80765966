#include "core/turns.hpp"

#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace tally {
namespace {

bool never() { return false; }

TEST(Turns, FinishedOnesAreNotWaitedFor) {
  Turns turns(2);
  turns.finish(1);
  turns.finish(1);

  EXPECT_NO_THROW(turns.wait_for(1, [] { return true; }));
}

TEST(Turns, OfManyThreadsFollowEachOther) {
  constexpr Index count = 2000;
  Turns turns(count);
  std::vector<Index> order;  // written by whoever has the turn
  std::atomic<Index> next = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t)
      threads.emplace_back([&] {
        for (Index turn; (turn = next.fetch_add(1)) < count;) {
          if (turn > 0) turns.wait_for(turn - 1, never);
          order.push_back(turn);
          turns.finish(turn);
        }
      });
  }

  ASSERT_EQ(static_cast<Index>(order.size()), count);
  for (Index turn = 0; turn < count; ++turn) EXPECT_EQ(order[static_cast<std::size_t>(turn)], turn);
}

TEST(Turns, ThatNobodyWillFinishEndAllWhoWait) {
  Turns turns(1);
  std::atomic<bool> hopeless = false;
  std::atomic<int> ended = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        try {
          turns.wait_for(0, [&] { return hopeless.load(); });
        } catch (const Error&) {
          ++ended;
        }
      });
    hopeless = true;
  }

  EXPECT_EQ(ended, 4);
}

}  // namespace
}  // namespace tally
