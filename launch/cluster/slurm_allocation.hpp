#pragma once
#include <string>

#include "launch/cluster/cluster.hpp"

namespace tally {

// Names a node of which the allocation has a part and to which Slurm does not confine the job: jobs beside it would be bound to the
// same cores. Empty where there is none. `nodes`, `processors`: SLURM_JOB_NODELIST and SLURM_JOB_CPUS_PER_NODE, which counts
// what the site's Slurm takes for processors, cores or their threads; `sizes`: of each node a line of sinfo's %N %c %z, where a
// node that has none counts as one of cores.
std::string shared_node_of(const Cluster& cluster, const std::string& nodes, const std::string& processors,
                           const std::string& sizes);

}  // namespace tally
