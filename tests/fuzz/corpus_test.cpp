// Every input of the corpus, among them those that were findings once, is read by its target without libFuzzer.
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "tests/fuzz/targets.hpp"

namespace tally::fuzz {
namespace {

struct Case {
  const char* corpus;
  Target target;
};

class CorpusTest : public testing::TestWithParam<Case> {};

TEST_P(CorpusTest, EveryInputIsReadOrRefused) {
  int inputs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(TALLY_SOURCE_DIR) /
                                                               "tests/fuzz/corpus" / GetParam().corpus)) {
    SCOPED_TRACE(entry.path().filename().string());
    std::ifstream stream(entry.path(), std::ios::binary);
    const std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(stream), {}};

    EXPECT_NO_THROW(GetParam().target(bytes));

    ++inputs;
  }
  EXPECT_GT(inputs, 0);
}

INSTANTIATE_TEST_SUITE_P(Targets, CorpusTest,
                         testing::Values(Case{"csv", read_csv}, Case{"npy", read_npy},
                                         Case{"hdf5", read_hdf5}, Case{"model", read_model},
                                         Case{"checkpoint", read_checkpoint},
                                         Case{"hdf5_bytes", read_hdf5_bytes}, Case{"cluster", read_cluster}),
                         [](const auto& chosen) { return std::string(chosen.param.corpus); });

}  // namespace
}  // namespace tally::fuzz
