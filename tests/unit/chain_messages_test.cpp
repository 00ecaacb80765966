#include "algorithms/chain_messages.hpp"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "algorithms/em_exchange.hpp"
#include "algorithms/registry.hpp"
#include "comm/partition.hpp"
#include "comm/thread_world.hpp"
#include "core/memory_rows.hpp"

namespace {

// Which of the large allocations of this thread that follow fails, once; -1: none.
thread_local int fails_at = -1;

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
  constexpr std::size_t large = 512;
  if (size >= large && fails_at >= 0 && fails_at-- == 0) throw std::bad_alloc();
  if (void* const memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace tally {
namespace {

// Two states that cannot be told from each other, in one sequence of three pieces, under candidate 1. Under candidate 0 what
// follows speaks for a state of which forward nothing is left.
TEST(ChainProducts, AStateThatIsLostSpoilsItsCandidateAlone) {
  const BlockPlan plan = BlockPlan::of_sequences(std::make_shared<const Sequences>(Sequences::of_lengths({30})), 10, 10);
  ChainMessages messages(plan, 2, 2);
  ChainProducts products(plan, 2, 2);
  const auto fill = [&](int candidate, std::vector<double> start, double log_scale) {
    std::ranges::copy(start, products.at(candidate, 0).vectors);
    for (const Index piece : {1, 2}) {
      const auto place = products.at(candidate, piece);
      std::ranges::copy(std::vector{1.0, 0.0, 0.0, 1.0}, place.vectors);
      place.log_scales[1] = log_scale;
    }
  };
  fill(0, {1, 0}, 800);
  fill(1, {0.5, 0.5}, 0);

  products.scan(std::vector{0, 1}, cut_pieces(plan), messages, 0x1p-1022);

  for (const double entry : messages.outgoing(0, 1)) EXPECT_TRUE(std::isnan(entry));
  for (const Index piece : {0, 1})
    for (const double entry : messages.outgoing(1, piece)) EXPECT_EQ(entry, 0.5);
}

// Whichever allocation fails on one rank between messages, all ranks end with its error.
void expect_failures_of_all(Index states) {
  constexpr int ranks = 3;
  Registry registry;
  add_builtin_models(registry);
  const auto model = registry.find("hmm").make(states, 1, {{"emission", "poisson"}});
  model->set_standardisation(Standardisation::none(1));
  const std::vector<double> counts(2003, 1.0);
  const MemoryRows rows({counts.data(), 2003, 1});
  const auto plan =
      BlockPlan::of_sequences(std::make_shared<const Sequences>(Sequences::of_lengths({3, 2000})), 50, 100);
  bool failed = true;
  for (int allocation = 0; failed; ++allocation) {
    std::atomic<int> told = 0;
    run_in_threads(ranks, [&](Communicator& world) {
      IoExecutor io;
      const BlockRange range = blocks_of_rank(plan, world.rank(), world.size());
      Shard shard(io, Inputs{&rows, nullptr, nullptr}, plan, ShardRange{range.first, range.last}, {});
      shard.prepare({model->standardisation(), model->log_base_measure()}, [] {});
      std::vector<double> parameters(static_cast<std::size_t>(model->parameters().size()));
      model->set_defaults(parameters);
      const auto bound = model->bind({});
      bound->prepare(0, parameters);
      RankExchange exchange(shard, world);
      const int first[] = {0};
      if (world.rank() == 1) fails_at = allocation;
      try {
        bound->exchange_messages(shard, first, PassKind::expectation, exchange, nullptr);
        agree(world, [&] { exchange.rethrow(); });
      } catch (const Error& error) {
        told += dynamic_cast<const AgreedFailure*>(&error) && std::string(error.what()).find("out of memory") != std::string::npos;
      }
      if (world.rank() == 1) {
        failed = fails_at < 0;
        fails_at = -1;
      }
    });
    EXPECT_EQ(told, failed ? ranks : 0) << "allocation " << allocation;
    if (!failed) {
      EXPECT_GT(allocation, 3);
    }
  }
}

TEST(ChainMessages, ThatOneRankHasNoMemoryForEndAllRanksWhereTheyAreComposed) { expect_failures_of_all(5); }

TEST(ChainMessages, ThatOneRankHasNoMemoryForEndAllRanksWhereTheyGoInOrder) { expect_failures_of_all(20); }

}  // namespace
}  // namespace tally
