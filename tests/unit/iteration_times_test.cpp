#include "launch/iteration_times.hpp"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "comm/single_process.hpp"

namespace tally {
namespace {

using ::testing::ElementsAre;

IterationTimes in_collectives(double seconds) {
  IterationTimes times;
  times.allreduce = seconds;
  return times;
}

TEST(IterationTimes, WhoSpentLeastInTheCollectivesWaitedForNobody) {
  std::vector<RankTimes> ranks(3);
  ranks[0].iterations = {in_collectives(5), in_collectives(2)};
  ranks[1].iterations = {in_collectives(2), in_collectives(4)};
  ranks[2].iterations = {in_collectives(3), in_collectives(2)};

  split_waiting(ranks);

  const auto of = [&](double IterationTimes::*part, std::size_t i) {
    return std::vector<double>{ranks[0].iterations[i].*part, ranks[1].iterations[i].*part,
                               ranks[2].iterations[i].*part};
  };
  EXPECT_THAT(of(&IterationTimes::allreduce, 0), ElementsAre(2, 2, 2));
  EXPECT_THAT(of(&IterationTimes::wait, 0), ElementsAre(3, 0, 1));
  EXPECT_THAT(of(&IterationTimes::allreduce, 1), ElementsAre(2, 2, 2));
  EXPECT_THAT(of(&IterationTimes::wait, 1), ElementsAre(0, 2, 0));
}

TEST(IterationTimes, WhatWasRecordedIsGathered) {
  SingleProcess world;
  TimesRecorder recorder;
  IterationReport report;
  report.read_seconds = 1;
  report.compute_seconds = 2;
  report.reduce_seconds = 3;
  report.maximize_seconds = 4;
  report.processor_seconds = 5;

  recorder.begin();
  recorder.iterated(report);
  recorder.iterated(report);
  const std::vector<RankTimes> all = recorder.gather(world);

  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].host, world.host_name());
  ASSERT_EQ(all[0].iterations.size(), 2u);
  const IterationTimes& last = all[0].iterations[1];
  EXPECT_THAT(
      (std::vector{last.read, last.compute, last.allreduce, last.wait, last.maximize, last.processor}),
      ElementsAre(1, 2, 3, 0, 4, 5));
  const auto json = nlohmann::json::parse(to_json(all));
  EXPECT_EQ(json["ranks"][0]["maximize_seconds"], (nlohmann::json{4.0, 4.0}));
  const std::vector<RankTimes> read = times_of_json(to_json(all));
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(read[0].host, all[0].host);
  EXPECT_EQ(read[0].iterations[1].whole, last.whole);
  EXPECT_EQ(to_json(read), to_json(all));
}

}  // namespace
}  // namespace tally
