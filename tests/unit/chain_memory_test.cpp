#include "algorithms/chain_memory.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "algorithms/chain_messages.hpp"
#include "algorithms/em_exchange.hpp"
#include "algorithms/registry.hpp"
#include "comm/single_process.hpp"
#include "core/memory_rows.hpp"
#include "launch/sequence_inputs.hpp"

namespace tally {
namespace {

std::unique_ptr<Model> poisson_chain(Index states, const std::string& mixtures, const std::string& topology = "ergodic") {
  Registry registry;
  add_builtin_models(registry);
  auto model = registry.find("hmm").make(
      states, 1, {{"emission", "poisson"}, {"mixtures", mixtures}, {"topology", topology}});
  model->set_standardisation(Standardisation::none(1));
  return model;
}

BlockPlan plan_of(const Model& model, const std::vector<Index>& lengths) {
  const auto sequences = std::make_shared<const Sequences>(Sequences::of_lengths(lengths));
  return plan_for(model, sequences, sequences->rows(), 0);
}

// What the lanes of a chain hold more once they have seen blocks.
Index taken_by_a_pass(const Model& model, const BlockPlan& plan, const BindOptions& options) {
  const std::vector<double> counts(static_cast<std::size_t>(plan.total_rows()), 1.0);
  const MemoryRows rows({counts.data(), plan.total_rows(), 1});
  IoExecutor io;
  SingleProcess alone;
  Shard::Options shard_options;
  shard_options.precision = options.precision;
  shard_options.lanes = options.lanes;
  Shard shard(io, Inputs{&rows, nullptr, nullptr}, plan, ShardRange{0, plan.block_count()}, shard_options);
  shard.prepare({model.standardisation(), model.log_base_measure()}, [] {});
  std::vector<double> parameters(static_cast<std::size_t>(model.parameters().size()));
  model.set_defaults(parameters);
  const auto bound = model.bind(options);
  bound->prepare(0, parameters);
  const Index before = bound->memory_bytes();
  RankExchange exchange(shard, alone);
  const int first[] = {0};
  bound->exchange_messages(shard, first, PassKind::expectation, exchange, [] {});
  bound->evaluate(shard, {.labels = true, .stepwise = true}, [](Index, Index, const RowResults&) {}, [] {});
  return bound->memory_bytes() - before;
}

TEST(ChainMemory, IsWhatAPassTakes) {
  for (const Index states : {3, 20})
    for (const char* mixtures : {"1", "2"})
      for (const Precision precision : {Precision::double_precision, Precision::single_precision})
        for (const std::vector<Index>& lengths : {std::vector<Index>{700, 1}, std::vector<Index>{5, 20000, 40}}) {
          const auto model = poisson_chain(states, mixtures);
          const BlockPlan plan = plan_of(*model, lengths);
          const BindOptions options{precision, 2};
          const Index sums = model->statistics().size() * 16;

          EXPECT_EQ(taken_by_a_pass(*model, plan, options), 2 * (chain_memory(*model, plan, options).of_lane - sums))
              << states << " states, " << mixtures << " mixtures, " << name_of(precision);
        }
}

// States that are left for good are soon lost to doubles.
TEST(ChainMemory, IsWhatNumbersOfAnySizeTake) {
  for (const Index states : {3, 20})
    for (const char* mixtures : {"1", "2"})
      for (const Precision precision : {Precision::double_precision, Precision::single_precision})
        for (const std::vector<Index>& lengths : {std::vector<Index>{700, 1}, std::vector<Index>{5, 20000, 40}}) {
          const auto model = poisson_chain(states, mixtures, "left-right");
          const BlockPlan plan = plan_of(*model, lengths);
          const BindOptions options{precision, 1};
          const Index sums = model->statistics().size() * 16;
          const auto taken = static_cast<double>(taken_by_a_pass(*model, plan, options));
          constexpr double close = 0.01;  // what is counted may be a row more, and has room for impossible transitions

          EXPECT_NEAR(taken, static_cast<double>(chain_memory(*model, plan, options).of_lane - sums), close * taken)
              << states << " states, " << mixtures << " mixtures, " << name_of(precision);
        }
}

TEST(ChainMemory, IsThatOfTheMessages) {
  for (const Index states : {3, 16, 17}) {
    const auto model = poisson_chain(states, "1");
    const BlockPlan plan = plan_of(*model, {5, 100000, 40, 50000});
    BindOptions options;
    options.candidates = 2;
    ASSERT_GT(plan.cut_piece_count(), 5);

    auto messages = static_cast<Index>(ChainMessages(plan, states, 2).values().size());
    if (states <= 16) messages += static_cast<Index>(ChainProducts(plan, states, 2).values().size());

    EXPECT_EQ(chain_memory(*model, plan, options).of_rank, 8 * messages) << states << " states";
  }
}

TEST(ChainMemory, IsNoneWhereRowsAreIndependent) {
  const auto model = poisson_chain(3, "1");

  EXPECT_EQ(chain_memory(*model, BlockPlan::uniform(5000, 4096), {}).of_lane, 0);
  EXPECT_EQ(chain_memory(*model, BlockPlan::uniform(5000, 4096), {}).of_rank, 0);
}

}  // namespace
}  // namespace tally
