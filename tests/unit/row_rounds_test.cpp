#include "launch/row_rounds.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "comm/thread_world.hpp"

namespace tally {
namespace {

struct Written {
  std::vector<double> rows;
  std::vector<std::size_t> rounds;  // rows that arrived at a time, of all ranks
};

// Each row's two results are twice its number, and one more.
Written write_rows(const BlockPlan& plan, Index memory, int ranks) {
  Written written;
  run_in_threads(ranks, [&](Communicator& communicator) {
    const RowRounds rounds{plan, 2, memory};
    write_in_row_order<double>(
        communicator, rounds,
        [&](BlockRange blocks, std::span<double> out) {
          std::iota(out.begin(), out.end(), 2 * static_cast<double>(plan.first_row(blocks.first)));
          if (communicator.rank() == 0) written.rounds.push_back(0);
        },
        [&](std::span<const double> results) {
          written.rows.insert(written.rows.end(), results.begin(), results.end());
          written.rounds.back() += results.size() / 2;
        });
  });
  return written;
}

TEST(RowRounds, RowsOfRaggedBlocksAreWrittenInOrder) {
  std::vector<Index> lengths;
  for (Index s = 0; s < 60; ++s) lengths.push_back(1 + (s * 7) % 13 + (s % 20 == 3 ? 100 : 0));
  const auto sequences = std::make_shared<Sequences>(Sequences::of_lengths(lengths));
  const BlockPlan ragged = BlockPlan::of_sequences(sequences, 30, 40);
  for (const BlockPlan& plan : {ragged, BlockPlan::uniform(1003, 40)})
    for (const int ranks : {1, 2, 3})
      for (const Index rows_at_a_time : {1, 41, 100, 100000}) {
        std::vector<double> all(static_cast<std::size_t>(2 * plan.total_rows()));
        std::iota(all.begin(), all.end(), 0.0);
        const auto most = static_cast<std::size_t>(std::max(rows_at_a_time, plan.most_rows()));

        const Written written = write_rows(plan, rows_at_a_time * 16, ranks);

        EXPECT_EQ(written.rows, all);
        for (const std::size_t rows : written.rounds) EXPECT_LE(rows, most);
        EXPECT_EQ(written.rounds.size() == 1, rows_at_a_time == 100000);
      }
}

}  // namespace
}  // namespace tally
