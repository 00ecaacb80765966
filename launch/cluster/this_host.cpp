#include "launch/cluster/this_host.hpp"

#include <cstdlib>

#include "comm/host_name.hpp"
#include "core/device_module.hpp"
#include "core/error.hpp"
#include "launch/cluster/topology.hpp"
#include "launch/device_choice.hpp"

namespace tally {
namespace {

// Slurm's name of a node need not be the host's.
std::string node_name() {
  const char* const name = std::getenv("SLURMD_NODENAME");
  return name ? name : local_host_name();
}

}  // namespace

std::vector<Gpu> usable_gpus() {
  std::vector<Gpu> gpus;
  if (!why_no_nvidia_driver().empty()) return gpus;
  try {
    const auto cuda = DeviceModule::load("cuda", module_folders());
    for (int device = 0; device < cuda->device_count(); ++device) {
      const module::DeviceInfo info = cuda->describe(device);
      if (info.unusable[0] == 0) gpus.push_back({device, info.identity, info.name, info.memory_bytes, -1});
    }
  } catch (const DeviceError&) {
    gpus.clear();  // a host without CUDA has none that Tally could use
  }
  return gpus;
}

Node describe_this_host() { return Topology().describe(node_name(), usable_gpus()); }

}  // namespace tally
