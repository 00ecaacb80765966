#include "core/backends/groups.hpp"

#include <set>

#include <gtest/gtest.h>

#include "core/view.hpp"

namespace tally::generic {
namespace {

// Hands its results to the test.
struct Results {
  int sums[64];
  std::set<int> last_writers;
};

struct SumLanes {
  static constexpr int threads = 64;
  struct Shared {
    int last_writer;
  };
  struct Own {
    int number;
  };
  Results* results;

  template <class Group>
  void operator()(Index, Group& group, Shared& shared) const {
    group.each([](int thread, Own& own) { own.number = thread; });
    group.template combine<8>([](Own& own) -> int& { return own.number; }, Plus{});
    group.each([&](int thread, Own& own) { results->sums[thread] = own.number; });
    for (int i = 0; i < 32; ++i) {
      group.each([&](int thread, Own&) { shared.last_writer = thread; });
      results->last_writers.insert(shared.last_writer);
    }
  }
};

TEST(Groups, EveryLaneReceivesTheSumOfItsRun) {
  Results results;

  RunSerially<SumLanes>{{&results}}(0);

  for (int thread = 0; thread < 64; ++thread) EXPECT_EQ(results.sums[thread], 8 * (thread / 8 * 8) + 28);
}

TEST(Groups, ThreadsThatWriteTheSamePlaceAreSeenToDisagree) {
  Results results;

  RunSerially<SumLanes>{{&results}}(0);

  EXPECT_EQ(results.last_writers, (std::set<int>{0, 63}));
}

}  // namespace
}  // namespace tally::generic
