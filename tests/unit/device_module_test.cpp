#include "core/device_module.hpp"

#include <dlfcn.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/block.hpp"
#include "core/error.hpp"
#include "tests/unit/temporary_folder.hpp"

namespace tally {
namespace {

const std::vector<std::filesystem::path> folders{"/nowhere", TALLY_MODULES};

std::string refusal(const std::string& name, const std::vector<std::filesystem::path>& where = folders) {
  try {
    (void)DeviceModule::load(name, where);
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "";
}

bool is_in_memory(const std::string& name) {
  void* const library = dlopen((TALLY_MODULES "/libtally_" + name + ".so").c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (library) dlclose(library);
  return library != nullptr;
}

EngineRequest any_request() {
  EngineRequest request;
  request.model = "fortune";
  request.components = request.columns = 1;
  request.standardisation = Standardisation::none(1);
  return request;
}

TEST(DeviceModule, TellsOfItsDevices) {
  const auto loaded = DeviceModule::load("generic", folders);

  EXPECT_EQ(loaded->backend(), "generic");
  EXPECT_EQ(loaded->device_count(), 3);
  EXPECT_STREQ(loaded->describe(1).identity, "generic:1");
  EXPECT_STREQ(loaded->describe(1).unusable, "");
  EXPECT_TRUE(loaded->reaches(0, 1));
  EXPECT_EQ(loaded->device(1)->description(), "generic 1: host memory");
}

TEST(DeviceModule, OneThatIsNotThereIsNamedWithThePlacesLookedAt) {
  const std::string why = refusal("absent");

  EXPECT_NE(why.find("'absent'"), std::string::npos) << why;
  EXPECT_NE(why.find("/nowhere"), std::string::npos) << why;
  EXPECT_NE(why.find(TALLY_MODULES), std::string::npos) << why;
}

TEST(DeviceModule, AnotherVersionIsRefusedByNumber) {
  const std::string why = refusal("other_version");

  EXPECT_NE(why.find("version " + std::to_string(module::interface_version + 1)), std::string::npos) << why;
  EXPECT_NE(why.find("version " + std::to_string(module::interface_version) + ":"), std::string::npos) << why;
  EXPECT_NE(refusal("older_version"), "");
}

TEST(DeviceModule, AFileThatIsNoModuleIsRefused) {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "libtally_text.so") << "no library";

  EXPECT_NE(refusal("text", {folder.path()}).find("cannot be loaded"), std::string::npos);
}

TEST(DeviceModule, OneThatNeedsWhatIsNowhereIsRefusedAtOnce) {
  const std::string why = refusal("unresolved");

  EXPECT_NE(why.find("cannot be loaded"), std::string::npos) << why;
  EXPECT_NE(why.find("tally_function_that_is_nowhere"), std::string::npos) << why;
}

TEST(DeviceModule, ALibraryWithoutTheEntryFunctionIsRefusedAndLetGo) {
  const std::string why = refusal("no_entry");

  EXPECT_NE(why.find(module::entry_name), std::string::npos) << why;
  EXPECT_FALSE(is_in_memory("no_entry"));
}

TEST(DeviceModule, TheFirstFolderThatHasItCounts) {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "libtally_broken.so") << "no library";

  EXPECT_NE(refusal("broken", {folder.path(), TALLY_MODULES}).find(folder.path()), std::string::npos);
  EXPECT_EQ(refusal("broken", {TALLY_MODULES, folder.path()}), "");
}

TEST(DeviceModule, AnErrorIsOfTheKindThatTheModuleSays) {
  const auto loaded = DeviceModule::load("broken", folders);
  const auto error = [&](ErrorKind kind) { (void)loaded->reaches(static_cast<int>(kind), 0); };

  EXPECT_THROW(error(ErrorKind::usage), UsageError);
  EXPECT_THROW(error(ErrorKind::data), DataError);
  EXPECT_THROW(error(ErrorKind::device), DeviceError);
  EXPECT_THROW(error(ErrorKind::communication), CommunicationError);
  try {
    error(ErrorKind::device);
  } catch (const DeviceError& caught) {
    EXPECT_STREQ(caught.what(), "out of reach");
  }
  EXPECT_TRUE(loaded->reaches(0, 1));
  EXPECT_FALSE(loaded->reaches(0, 0));
}

TEST(DeviceModule, AnErrorOfNoKindIsTheDevices) {
  const auto loaded = DeviceModule::load("broken", folders);
  const auto engine = loaded->device(0)->open(any_request());

  EXPECT_THROW((void)loaded->versions(), DeviceError);
  EXPECT_THROW((void)loaded->device_count(), DeviceError);
  EXPECT_THROW(engine->prepare(0, {}), DeviceError);
}

TEST(DeviceModule, BlocksThatAreNoMultipleOfTheCpusAreRefused) {
  const auto device = DeviceModule::load("broken", folders)->device(0);

  ASSERT_EQ(block_rows_for(5096), 512);
  EXPECT_EQ(device->block_rows(5096), 4096);
  EXPECT_THROW((void)device->block_rows(1000 + block_rows_for(2000) / 2), DeviceError);
  EXPECT_THROW((void)device->block_rows(5097), DeviceError);
  EXPECT_THROW((void)device->block_rows(1000), DeviceError);  // no rows
  EXPECT_THROW((void)device->block_rows(1), DeviceError);     // fewer
}

TEST(DeviceModule, StaysInMemoryUntilItsLastEngineIsGone) {
  auto loaded = DeviceModule::load("broken", folders);
  auto engine = loaded->device(0)->open(any_request());
  EXPECT_EQ(loaded->describe(0).memory_bytes, 1);
  loaded.reset();
  EXPECT_TRUE(is_in_memory("broken"));

  engine.reset();

  EXPECT_FALSE(is_in_memory("broken"));
}

TEST(DeviceModule, ClosesWhatItOpens) {
  const auto loaded = DeviceModule::load("broken", folders);
  const auto device = loaded->device(0);

  auto engine = device->open(any_request());
  auto connecting = device->connect({}, 0, 1);
  connecting->start();
  EXPECT_EQ(loaded->describe(0).memory_bytes, 1);
  EXPECT_EQ(loaded->describe(0).free_bytes, 1);
  engine.reset();
  connecting.reset();

  EXPECT_EQ(loaded->describe(0).memory_bytes, 0);
  EXPECT_EQ(loaded->describe(0).free_bytes, 0);
}

TEST(DeviceModule, EnginesSumOverRanksOnceTheDeviceIsConnected) {
  const auto loaded = DeviceModule::load("broken", folders);
  auto device = loaded->device(0);
  auto connecting = device->connect({}, 0, 1);

  connecting->abort();  // of nothing
  connecting->start();
  EXPECT_EQ(connecting->poll(), CollectiveState::working);
  EXPECT_EQ(connecting->poll(), CollectiveState::waiting);
  EXPECT_EQ(device->open(any_request())->sum_over_ranks(), nullptr);
  EXPECT_EQ(connecting->poll(), CollectiveState::done);
  connecting.reset();
  const auto engine = device->open(any_request());
  device.reset();

  DeviceCollective* const sum = engine->sum_over_ranks();
  ASSERT_NE(sum, nullptr);
  EXPECT_EQ(loaded->describe(0).free_bytes, 1);
  sum->start();
  EXPECT_EQ(sum->poll(), CollectiveState::working);
  EXPECT_EQ(sum->poll(), CollectiveState::waiting);
  EXPECT_EQ(sum->poll(), CollectiveState::done);
  sum->abort();
  EXPECT_THROW(sum->start(), DeviceError);
}

TEST(DeviceModule, AConnectionThatIsGivenUpIsAborted) {
  const auto device = DeviceModule::load("broken", folders)->device(0);
  const auto connecting = device->connect({}, 0, 1);
  connecting->start();
  while (connecting->poll() != CollectiveState::done) continue;
  const auto engine = device->open(any_request());

  connecting->abort();

  EXPECT_THROW(engine->sum_over_ranks()->start(), DeviceError);
}

TEST(DeviceModule, OutlivesWhoeverLoadedIt) {
  auto loaded = DeviceModule::load("generic", folders);
  const std::unique_ptr<Device> device = loaded->device(0);
  loaded.reset();

  EXPECT_GT(device->block_rows(3), 0);
}

TEST(DeviceModule, AModelItDoesNotKnowIsRefused) {
  const auto device = DeviceModule::load("generic", folders)->device(0);
  EngineRequest request = any_request();

  EXPECT_THROW((void)device->open(request), UsageError);
  request.model = "kmeans";
  EXPECT_THROW((void)device->open(request), DeviceError);  // its buffers have other sizes
}

#if defined(TALLY_CUDA_MODULE)
// With a GPU or without: the module loads, and says what there is or why there is none.
TEST(CudaModule, LoadsWhereverItWasBuilt) {
  const auto loaded = DeviceModule::load("cuda", {TALLY_CUDA_MODULE});

  EXPECT_EQ(loaded->backend(), "cuda");
  EXPECT_EQ(loaded->build().rfind("CUDA ", 0), 0u) << loaded->build();
  try {
    EXPECT_GE(loaded->device_count(), 0);
  } catch (const DeviceError& error) {
    EXPECT_NE(std::string(error.what()).find("driver"), std::string::npos) << error.what();
  }
}
#endif

}  // namespace
}  // namespace tally
