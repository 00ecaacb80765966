#include "linkage.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "algorithms/em_fit.hpp"
#include "algorithms/em_scan.hpp"
#include "comm/partition.hpp"
#include "comm/thread_world.hpp"
#include "core/archive.hpp"
#include "core/error.hpp"
#include "core/hdf5_rows.hpp"
#include "core/memory_rows.hpp"
#include "core/philox.hpp"
#include "launch/command.hpp"

namespace linkage {
namespace {

using namespace tally;
using ::testing::HasSubstr;

// The reference was computed to 40 digits: what is left is the rounding of one division an iteration.
constexpr double rounding = 1e-15;
// The nine printed digits differ from rounded ones by up to one unit of the last.
constexpr double printed = 1e-9;

nlohmann::json golden() {
  std::ifstream file(TALLY_SOURCE_DIR "/tests/data/cases/generic_em_dlr_linkage/golden.json");
  return nlohmann::json::parse(file);
}

// theta before each E-step.
class ThetaTrace final : public FitObserver {
 public:
  void advanced(std::span<const FitTask> tasks, bool) override {
    values.push_back(tasks[0].state->candidates[0].parameters[0]);
  }
  std::vector<double> values = {0.5};
};

struct Cut {
  int ranks = 1;
  int threads = 1;
  bool streamed = false;
  Precision precision = Precision::double_precision;
};

struct Fitted {
  FitState state;
  std::vector<double> thetas;
};

// Fits `counts` (rows, 4), optionally from a saved state, in a world of threads; every rank's result.
std::vector<Fitted> fit_linkage(const std::vector<double>& counts, int iterations, const Cut& cut,
                                const FitState* from = nullptr) {
  std::vector<Fitted> results(static_cast<std::size_t>(cut.ranks));
  run_in_threads(cut.ranks, [&](Communicator& communicator) {
    Fitted& mine = results[static_cast<std::size_t>(communicator.rank())];
    const auto row_count = static_cast<Index>(counts.size()) / 4;
    const BlockPlan plan = BlockPlan::uniform(row_count, 16);
    const BlockRange range = blocks_of_rank(plan, communicator.rank(), communicator.size());
    IoExecutor io;
    const MemoryRows rows(MatrixView<const double>(counts.data(), row_count, 4), "y");
    Shard::Options options;
    options.lanes = cut.threads;
    options.memory_limit = cut.streamed ? 1 : 0;
    options.precision = cut.precision;
    Shard shard(io, {&rows, nullptr, nullptr}, plan, {range.first, range.last}, options);
    const auto model = make_linkage(rows.columns());
    const Scan seen = scan(shard, model->domain(), 10, 0, communicator);
    model->set_standardisation(standardise_for(model->scaling(), seen.summary));
    shard.prepare({model->standardisation(), model->log_base_measure()}, [] {});
    if (from) {
      mine.state = *from;
    } else {
      mine.state.candidates.resize(1);
      mine.state.candidates[0].parameters = {0.5};
    }
    ThetaTrace trace;
    const FitOptions fit_options{.max_iterations = iterations, .tolerance = 0, .precision = cut.precision};
    fit(*model, shard, seen.summary, mine.state, fit_options, communicator, trace);
    mine.thetas = trace.values;
  });
  return results;
}

// Families of a few dozen offspring each, of theta 0.3.
std::vector<double> many_families() {
  std::vector<double> counts;
  const double ends[] = {0.575, 0.75, 0.925};
  for (std::uint64_t family = 0; family < 901; ++family) {
    double cells[4] = {};
    const auto size = static_cast<std::uint32_t>(20 + below({7, 1}, family, 0, 30));
    for (std::uint32_t child = 0; child < size; ++child)
      cells[std::upper_bound(ends, ends + 3, uniform({7, 2}, family, child)) - ends] += 1;
    counts.insert(counts.end(), cells, cells + 4);
  }
  return counts;
}

TEST(Linkage, TheTraceIsThePublishedOne) {
  const auto expected = golden();
  const std::vector<double> exact = expected["phi_trace"], published = expected["published"]["trace"];

  const auto thetas = fit_linkage({125, 18, 20, 34}, 30, {}).front().thetas;

  ASSERT_GE(thetas.size(), exact.size());
  for (std::size_t i = 0; i < exact.size(); ++i) EXPECT_NEAR(thetas[i], exact[i], rounding) << "iteration " << i;
  for (std::size_t i = 0; i < published.size(); ++i) EXPECT_NEAR(thetas[i], published[i], printed);
  EXPECT_NEAR(thetas.back(), (15 + std::sqrt(53809.0)) / 394, rounding);
}

TEST(Linkage, TheLikelihoodIsTheMultinomialOne) {
  const auto fitted = fit_linkage({125, 18, 20, 34}, 0, {}).front();

  const auto log_factorial = [](double n) { return std::lgamma(n + 1); };
  const double constant = log_factorial(197) - log_factorial(125) - log_factorial(18) - log_factorial(20) -
                          log_factorial(34);
  const double expected = constant + 125 * std::log(0.625) + 38 * std::log(0.125) + 34 * std::log(0.125);
  EXPECT_NEAR(fitted.state.candidates[0].trace[0], expected, 1e-11);
}

TEST(Linkage, RanksThreadsAndMemoryDoNotMatter) {
  for (const auto& counts : {std::vector<double>{125, 18, 20, 34}, many_families()})
    for (const Precision precision : {Precision::double_precision, Precision::single_precision}) {
      const auto expected = fit_linkage(counts, 10, {1, 1, false, precision}).front();
      for (const int ranks : {1, 2, 3, 4})
        for (const bool streamed : {false, true})
          for (const Fitted& fitted : fit_linkage(counts, 10, {ranks, 1 + ranks % 2, streamed, precision})) {
            EXPECT_EQ(fitted.thetas, expected.thetas);
            EXPECT_EQ(fitted.state.candidates[0].trace, expected.state.candidates[0].trace);
          }
    }
}

TEST(Linkage, ThePlantedParameterIsFound) {
  const auto fitted = fit_linkage(many_families(), 60, {2, 1, false}).front();

  constexpr double four_standard_errors = 0.03;
  EXPECT_NEAR(fitted.thetas.back(), 0.3, four_standard_errors);
}

TEST(Linkage, TheLikelihoodNeverFalls) {
  const auto fitted = fit_linkage(many_families(), 20, {1, 1, false}).front();

  const auto& trace = fitted.state.candidates[0].trace;
  for (std::size_t i = 1; i < trace.size(); ++i) EXPECT_GE(trace[i] - trace[i - 1], -1e-12 * std::abs(trace[i]));
}

// The command, as a person would run it: `words` after the program's name.
int run(std::vector<std::string> words) {
  Registry registry;
  add_builtin_models(registry);
  registry.add(linkage_entry());
  words.insert(words.begin(), "tally-linkage");
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  return run_command(static_cast<int>(arguments.size()), arguments.data(), registry);
}

class LinkageCommand : public ::testing::Test {
 protected:
  LinkageCommand() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tally-linkage-XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw Error("no temporary folder can be made");
    folder_ = pattern;
    IoExecutor io;
    const double wide[] = {1, 2, 3, 4, 5};
    Hdf5RowWriter writer(io, file("data.h5"), "y", 1, 4, Hdf5RowWriter::Type::int64);
    const std::int64_t whole[] = {125, 18, 20, 34};
    writer.append(whole, 1);
    writer.next("wide", 1, 5, Hdf5RowWriter::Type::float64);
    writer.append(wide, 1);
    writer.finish();
    ArchiveWriter start(io);
    start.put("theta", Array{{1}, {0.5}});
    start.save(file("start.h5"));
  }
  ~LinkageCommand() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string file(const std::string& name) const { return (folder_ / name).string(); }
  double theta_of(const std::string& name) const {
    IoExecutor io;
    const ArchiveReader archive(io, file(name));
    return archive.get("parameters/theta").values.at(0);
  }
  // `fit linkage` from the start file, with more words.
  int fit_to(const std::string& out, const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"fit",     "linkage", file("data.h5") + ":/y", "--init", "parameters:" + file("start.h5"),
                                      "--out",   file(out), "--quiet",               "--tol",  "0"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  }

 private:
  std::filesystem::path folder_;
};

TEST_F(LinkageCommand, FitsFromAFileToAFile) {
  EXPECT_EQ(fit_to("model.h5", {"--max-iter", "30"}), 0);

  EXPECT_NEAR(theta_of("model.h5"), (15 + std::sqrt(53809.0)) / 394, rounding);
}

TEST_F(LinkageCommand, ResumesFromACheckpointWithTheSameBits) {
  EXPECT_EQ(fit_to("whole.h5", {"--max-iter", "8"}), 0);
  const std::vector<std::string> saving = {"--checkpoint", file("saved"), "--every", "2"};

  auto words = saving;
  words.insert(words.end(), {"--max-iter", "4"});
  EXPECT_EQ(fit_to("part.h5", words), 0);
  words = saving;
  words.insert(words.end(), {"--max-iter", "8", "--resume"});
  EXPECT_EQ(fit_to("resumed.h5", words), 0);

  EXPECT_NE(theta_of("part.h5"), theta_of("whole.h5"));
  EXPECT_EQ(theta_of("resumed.h5"), theta_of("whole.h5"));
}

TEST_F(LinkageCommand, RefusesWhatItCannotUse) {
  constexpr int usage = 2, data = 3;
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(run({"fit", "linkage", file("data.h5") + ":/wide", "--out", file("m.h5")}), data);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("linkage takes the counts of 4 cells"));

  ::testing::internal::CaptureStderr();
  EXPECT_EQ(run({"fit", "linkage", file("data.h5") + ":/y", "--out", file("m.h5"), "--components", "2"}), usage);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("--components"));

  ::testing::internal::CaptureStderr();
  EXPECT_EQ(run({"fit", "linkage", file("data.h5") + ":/y", "--out", file("m.h5"), "--init", "kmeans"}), data);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("no components that labels could name"));
}

}  // namespace
}  // namespace linkage
