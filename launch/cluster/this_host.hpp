#pragma once
#include <vector>

#include "launch/cluster/cluster.hpp"

namespace tally {

// This host: what this process may run on, and the usable GPUs that it is shown.
Node describe_this_host();
std::vector<Gpu> usable_gpus();

}  // namespace tally
