#include "launch/cluster/this_host.hpp"

#include <strings.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "comm/host_name.hpp"
#include "comm/mpi_session.hpp"
#include "core/device_module.hpp"
#include "core/error.hpp"
#include "launch/cluster/mpi_support.hpp"
#include "launch/cluster/topology.hpp"
#include "launch/device_choice.hpp"

namespace tally {
namespace {

// Slurm's name of a node need not be the host's.
std::string node_name() {
  const char* const name = std::getenv("SLURMD_NODENAME");
  return name ? name : local_host_name();
}

constexpr const char* gpus_of_driver = "/proc/driver/nvidia/gpus";

struct Gpus {
  std::vector<Gpu> usable;
  std::vector<std::string> hidden;
};

Gpus look_for_gpus() {
  Gpus found;
  const bool shows_some = why_no_nvidia_driver().empty();
  if (!shows_some && hidden_gpus(gpus_of_driver, {}).empty()) return found;
  try {
    const auto cuda = DeviceModule::load("cuda", module_folders());
    std::vector<std::string> shown;
    for (int device = 0; shows_some && device < cuda->device_count(); ++device) {
      const module::DeviceInfo info = cuda->describe(device);
      shown.emplace_back(info.identity);
      if (info.unusable[0] == 0) found.usable.push_back({device, info.identity, info.name, info.memory_bytes, -1});
    }
    found.hidden = hidden_gpus(gpus_of_driver, shown);
  } catch (const DeviceError&) {
    found = {};  // a host without CUDA has none that Tally could use
  }
  return found;
}

}  // namespace

std::vector<std::string> hidden_gpus(const std::filesystem::path& driver_folder, const std::vector<std::string>& shown) {
  std::vector<std::string> hidden;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(driver_folder, none)) {
    std::string gpu = entry.path().filename().string();
    if (std::none_of(shown.begin(), shown.end(), [&](const auto& other) { return strcasecmp(other.c_str(), gpu.c_str()) == 0; }))
      hidden.push_back(std::move(gpu));
  }
  std::sort(hidden.begin(), hidden.end());
  return hidden;
}

std::vector<Gpu> usable_gpus() { return look_for_gpus().usable; }

Node describe_this_host() {
  Gpus gpus = look_for_gpus();
  Node node = Topology().describe(node_name(), std::move(gpus.usable));
  node.hidden_gpus = std::move(gpus.hidden);
  node.mpi = parse_mpi_name(mpi_library_version()).words();
  return node;
}

}  // namespace tally
