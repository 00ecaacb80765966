#include "launch/cluster/preflight.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace tally {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A rank on a host of four cores.
RankFigures rank_on(int rank, const std::string& host, std::vector<int> cores, int threads = 1) {
  return {rank, host, {0, 1, 2, 3}, cores, cores, threads, false, "", 1e11, 1e10, 2e9};
}

std::vector<std::string> words_of(const std::vector<Finding>& findings) {
  std::vector<std::string> words;
  for (const Finding& finding : findings) words.push_back(finding.words);
  return words;
}

TEST(Preflight, RanksAlikeAndApartAreFine) {
  EXPECT_THAT(findings_of({{rank_on(0, "a", {0, 1}, 2), rank_on(1, "a", {2, 3}, 2), rank_on(2, "b", {0, 1, 2, 3}, 4)}, {}}),
              IsEmpty());
}

TEST(Preflight, ARankBelowTheMedianIsSlowByEachFigureAlone) {
  PreflightReport report{{rank_on(0, "a", {0}), rank_on(1, "b", {0}), rank_on(2, "c", {0}), rank_on(3, "d", {0})}, {}};
  report.ranks[2].gemm_rate = 0.5e11;
  report.ranks[3].copy_rate = 0.69e10;
  report.ranks[0].read_rate = 1.41e9;  // not below 0.7 of the median
  report.ranks[1].read_rate = 1e9;

  const std::vector<Finding> findings = findings_of(report);

  EXPECT_THAT(words_of(findings), ElementsAre("rank 2 on c multiplies matrices at 50 GFLOP/s, 0.50 of the median 100",
                                              "rank 3 on d copies memory at 6.9 GB/s, 0.69 of the median 10",
                                              "rank 1 on b reads its data at 1000 MB/s, 0.59 of the median 1705"));
  for (const Finding& finding : findings) EXPECT_EQ(finding.kind, Finding::Kind::slow);
}

TEST(Preflight, RanksThatReadNothingAreNotSlowAndMakeNoMedian) {
  PreflightReport report{{rank_on(0, "a", {0}), rank_on(1, "b", {0}), rank_on(2, "c", {0}), rank_on(3, "d", {0})}, {}};
  report.ranks[0].read_rate = 0;
  report.ranks[1].read_rate = 0;
  report.ranks[2].read_rate = 1e9;

  EXPECT_THAT(words_of(findings_of(report)), ElementsAre("rank 2 on c reads its data at 1000 MB/s, 0.67 of the median 1500"));
}

TEST(Preflight, RanksOnOneCoreWhileOthersAreFree) {
  const std::vector<Finding> findings =
      findings_of({{rank_on(0, "a", {0}), rank_on(1, "b", {0}), rank_on(2, "a", {0}), rank_on(3, "a", {1})}, {}});

  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].kind, Finding::Kind::binding);
  EXPECT_THAT(findings[0].ranks, ElementsAre(0, 2));
  EXPECT_EQ(findings[0].words, "ranks 0,2 on a run 2 threads on core 0 while cores 2-3 are free");
}

TEST(Preflight, RanksAreOneGroupThroughOthers) {
  const std::vector<Finding> findings =
      findings_of({{rank_on(0, "a", {0}), rank_on(1, "a", {1}), rank_on(2, "a", {0, 1}, 2)}, {}});

  EXPECT_THAT(words_of(findings), ElementsAre("ranks 0-2 on a run 4 threads on cores 0-1 while cores 2-3 are free"));
}

TEST(Preflight, UnboundRanksMayShareAllCores) {
  const std::vector<int> all = {0, 1, 2, 3};
  EXPECT_THAT(findings_of({{rank_on(0, "a", all, 2), rank_on(1, "a", all, 2)}, {}}), IsEmpty());
  EXPECT_THAT(words_of(findings_of({{rank_on(0, "a", all, 4), rank_on(1, "a", all, 4)}, {}})),
              ElementsAre("ranks 0-1 on a run 8 threads on processors 0-3"));
}

TEST(Preflight, OneRankMayHaveTooManyThreads) {
  EXPECT_THAT(words_of(findings_of({{rank_on(0, "a", {3}, 2)}, {}})),
              ElementsAre("rank 0 on a runs 2 threads on processor 3 while cores 0-2 are free"));
}

TEST(Preflight, HardwareThreadsCountWhereARankHasItsCoresToItself) {
  RankFigures rank = rank_on(0, "a", {0}, 2);
  rank.processors = {0, 4};
  EXPECT_THAT(findings_of({{rank}, {}}), IsEmpty());

  RankFigures other = rank;
  rank.threads = other.threads = 1;
  other.rank = 1;
  rank.processors = {0};
  other.processors = {4};
  EXPECT_THAT(words_of(findings_of({{rank, other}, {}})),
              ElementsAre("ranks 0-1 on a run 2 threads on core 0 while cores 1-3 are free"));
}

TEST(Preflight, GpusAreNotSharedAndNotMissing) {
  PreflightReport report{{rank_on(0, "a", {0}), rank_on(1, "a", {1}), rank_on(2, "b", {0}), rank_on(3, "b", {1})}, {}};
  for (RankFigures& rank : report.ranks) {
    rank.wants_gpu = true;
    rank.gpu = "0000:1b:00.0";
  }
  report.ranks[3].gpu.clear();

  const std::vector<Finding> findings = findings_of(report);

  EXPECT_THAT(words_of(findings), ElementsAre("ranks 0-1 on a share the GPU 0000:1b:00.0", "rank 3 on b has no GPU"));
  EXPECT_EQ(findings[0].kind, Finding::Kind::gpu);
}

TEST(Preflight, FiguresTravelAsTheyAre) {
  RankFigures figures = rank_on(3, "a", {0, 2}, 2);
  figures.processors = {0, 2, 4, 6};
  figures.wants_gpu = true;
  figures.gpu = "0000:1b:00.0";
  figures.read_rate = 1.0 / 3;

  const RankFigures back = parse_figures(to_json(figures));

  EXPECT_EQ(to_json(back), to_json(figures));
  EXPECT_EQ(back.read_rate, figures.read_rate);
  EXPECT_EQ(back.processors, figures.processors);
}

TEST(Preflight, TheTableNamesWhatIsAmissOrThatNothingIs) {
  const PreflightReport report{{rank_on(0, "a", {0}), rank_on(1, "a", {0})}, {{8, 2e-6}}};
  const std::string table = to_table(report, findings_of(report));
  EXPECT_THAT(table, testing::HasSubstr("allreduce of 8 bytes: 2 us\n"));
  EXPECT_THAT(table, testing::EndsWith("binding: ranks 0-1 on a run 2 threads on core 0 while cores 1-3 are free\n"));
  EXPECT_THAT(to_table({{rank_on(0, "a", {0})}, {}}, {}), testing::EndsWith("nothing amiss\n"));
}

TEST(Preflight, JsonHoldsRanksSumsAndFindings) {
  const PreflightReport report{{rank_on(0, "a", {0}), rank_on(1, "a", {0})}, {{8, 2e-6}}};
  const auto json = nlohmann::json::parse(to_json(report, findings_of(report)));
  EXPECT_EQ(json["ranks"].size(), 2U);
  EXPECT_EQ(json["ranks"][1]["host_cores"], "0-3");
  EXPECT_EQ(json["allreduce"][0]["seconds"], 2e-6);
  EXPECT_EQ(json["findings"][0]["kind"], "binding");
  EXPECT_EQ(json["findings"][0]["ranks"], nlohmann::json({0, 1}));
}

}  // namespace
}  // namespace tally
