#include "launch/cluster/supervisor.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace tally {
namespace {

StartLine line_of(std::vector<std::string> words) {
  StartLine line;
  line.words = std::move(words);
  return line;
}

TEST(OutputOf, ACommandThatEndsSaysWhatAndHow) {
  const Output output = output_of(line_of({"sh", "-c", "echo word; exit 3"}), std::chrono::seconds(60));
  EXPECT_EQ(output.text, "word\n");
  EXPECT_EQ(output.status, 3);
  EXPECT_TRUE(output.in_time);
}

TEST(OutputOf, OneThatIsSlowIsToldFromOneThatFails) {
  const auto start = std::chrono::steady_clock::now();
  const Output output = output_of(line_of({"sh", "-c", "echo word; sleep 600"}), std::chrono::seconds(1));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
  EXPECT_EQ(output.text, "word\n");
  EXPECT_NE(output.status, 0);
  EXPECT_FALSE(output.in_time);
}

}  // namespace
}  // namespace tally
