#include "launch/cluster/job_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace tally {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

Cluster nodes(int count, Index memory) {
  Cluster cluster;
  for (int i = 0; i < count; ++i) {
    Node& node = cluster.nodes.emplace_back();
    node.name = "n" + std::to_string(i);
    node.domains = {{{0, 1}, memory}, {{2, 3}, memory}};
  }
  return cluster;
}

JobShape rows_in_chunks(Index rows, Index chunk_rows) {
  JobShape job;
  job.blocks = BlockPlan::uniform(rows, 100);
  job.stored = {{"a.h5:/x", 0, rows / 2, chunk_rows, 12}, {"b.h5:/x", rows / 2, rows - rows / 2, chunk_rows, 12}};
  job.columns = 3;
  job.model_bytes = 1000;
  return job;
}

JobPlan plan(const Cluster& cluster, const JobShape& job, int ranks_per_node = 0) {
  PlacementRequest request;
  request.ranks_per_node = ranks_per_node;
  return plan_job(cluster, place_ranks(cluster, request), job);
}

TEST(JobPlan, SharesOutRowsAndTheirBytes) {
  const JobPlan shares = plan(nodes(2, Index{1} << 30), rows_in_chunks(4000, 0));
  ASSERT_EQ(shares.shares.size(), 4U);
  Index next = 0;
  for (const RankShare& share : shares.shares) {
    EXPECT_EQ(share.first_row, next);
    EXPECT_EQ(share.rows, 1000);
    EXPECT_EQ(share.file_bytes, 12000);
    EXPECT_FALSE(share.streamed);
    // In double: three values and an offset a row; two threads.
    EXPECT_EQ(share.memory_needed, 1000 * 4 * 8 + 2 * 1000);
    EXPECT_EQ(share.memory_there, Index{1} << 30);
    next += share.rows;
  }
  EXPECT_EQ(shares.imbalance, 0);
  EXPECT_THAT(shares.warnings, IsEmpty());
}

TEST(JobPlan, NamesChunksThatTwoRanksRead) {
  EXPECT_THAT(plan(nodes(1, 0), rows_in_chunks(4000, 500), 4).warnings, IsEmpty());
  const JobPlan cut = plan(nodes(1, 0), rows_in_chunks(4000, 300), 4);
  // Ranks begin at rows 1000, 2000 and 3000; the second file begins at 2000.
  EXPECT_TRUE(cut.shares[1].shares_chunk);
  EXPECT_FALSE(cut.shares[2].shares_chunk);
  EXPECT_TRUE(cut.shares[3].shares_chunk);
  EXPECT_THAT(cut.warnings, Contains(HasSubstr("2 chunks of the files are read by two ranks")));
}

TEST(JobPlan, StreamsWhereRowsDoNotFit) {
  JobShape job = rows_in_chunks(4000, 0);
  const JobPlan small = plan(nodes(1, 40000), job);
  EXPECT_TRUE(small.shares[0].streamed);
  EXPECT_THAT(small.warnings, Contains(HasSubstr("2 of 2 ranks have no room for their rows")));
  job.shard.memory_limit = Index{1} << 20;
  EXPECT_FALSE(plan(nodes(1, Index{1} << 30), job).shares[0].streamed);
  job.model_bytes = Index{1} << 30;
  EXPECT_THAT(plan(nodes(1, Index{1} << 30), job).warnings, Contains(HasSubstr("ranks on node n0 need more memory")));
  EXPECT_THAT(plan(nodes(11, Index{1} << 30), job).warnings, Contains(HasSubstr("ranks on node n0 and 10 more need more memory")));
}

TEST(JobPlan, CountsRanksWithoutRows) {
  const JobPlan idle = plan(nodes(2, 0), rows_in_chunks(300, 0));
  EXPECT_EQ(idle.shares[3].rows, 0);
  EXPECT_THAT(idle.warnings, Contains(HasSubstr("1 of 4 ranks have no rows")));
  EXPECT_NEAR(idle.imbalance, 1.0 / 3, 1e-12);
}

TEST(JobPlan, KeepsSequencesWhole) {
  const auto sequences = std::make_shared<const Sequences>(Sequences::of_lengths({50, 60, 70, 80, 90}));
  JobShape job = rows_in_chunks(350, 0);
  job.blocks = BlockPlan::of_sequences(sequences, 1000, 100);
  const JobPlan shares = plan(nodes(1, 0), job);
  EXPECT_EQ(shares.shares[0].sequences + shares.shares[1].sequences, 5);
  EXPECT_EQ(shares.shares[0].rows, 180);
  EXPECT_EQ(shares.shares[0].sequences, 3);
}

TEST(JobPlan, PrintsEveryRankAsJsonAndTheEndsOfManyAsATable) {
  const Cluster cluster = nodes(20, 0);
  const JobPlan shares = plan(cluster, rows_in_chunks(4000, 0));
  const nlohmann::json json = nlohmann::json::parse(to_json(shares, cluster));
  ASSERT_EQ(json["ranks"].size(), 40U);
  EXPECT_EQ(json["ranks"][39]["host"], "n19");
  EXPECT_EQ(json["ranks"][39]["cores"], "2-3");
  const std::string table = to_table(shares, cluster);
  EXPECT_THAT(table, HasSubstr("...  24 more"));
  EXPECT_THAT(table, HasSubstr("n19"));
}

}  // namespace
}  // namespace tally
