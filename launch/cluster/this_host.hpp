#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "launch/cluster/cluster.hpp"

namespace tally {

// This host: what this process may run on, and the usable GPUs that it is shown.
Node describe_this_host();
std::vector<Gpu> usable_gpus();

// PCI bus ids of the GPUs for which NVIDIA's driver has a folder, without those that CUDA shows, whose letters may be of another
// case.
std::vector<std::string> hidden_gpus(const std::filesystem::path& driver_folder, const std::vector<std::string>& shown);

}  // namespace tally
