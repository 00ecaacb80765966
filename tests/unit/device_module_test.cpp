#include "core/device_module.hpp"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

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
}

TEST(DeviceModule, AFileThatIsNoModuleIsRefused) {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "libtally_text.so") << "no library";

  EXPECT_NE(refusal("text", {folder.path()}).find("cannot be loaded"), std::string::npos);
}

TEST(DeviceModule, OutlivesWhoeverLoadedIt) {
  auto loaded = DeviceModule::load("generic", folders);
  const std::unique_ptr<Device> device = loaded->device(0);
  loaded.reset();

  EXPECT_GT(device->block_rows(3), 0);
}

TEST(DeviceModule, AModelItDoesNotKnowIsRefused) {
  const auto device = DeviceModule::load("generic", folders)->device(0);
  EngineRequest request;
  request.model = "fortune";
  request.components = request.columns = 1;
  request.standardisation = Standardisation::none(1);

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
