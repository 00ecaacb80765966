#include "launch/cluster/slurm_allocation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <map>
#include <sstream>
#include <vector>

#include "launch/cluster/hosts.hpp"
#include "launch/cluster/slurm_step.hpp"

namespace tally {
namespace {

// Of each node the processors to a core: "n0 64 2:16:2", that is 64 of two sockets of 16 cores, has 2.
std::map<std::string, int> processors_of_cores(const std::string& sizes) {
  std::map<std::string, int> found;
  std::istringstream lines(sizes);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string node, shape;
    int processors = 0, sockets = 0, cores = 0;
    if (words >> node >> processors >> shape && std::sscanf(shape.c_str(), "%d:%d", &sockets, &cores) == 2 && sockets > 0 && cores > 0)
      found[node] = std::max(1, processors / (sockets * cores));
  }
  return found;
}

}  // namespace

std::string shared_node_of(const Cluster& cluster, const std::string& nodes, const std::string& processors,
                           const std::string& sizes) {
  const std::map<std::string, int> of_cores = processors_of_cores(sizes);
  const std::vector<Host> allocated = parse_slurm_nodes(nodes);
  for (std::size_t i = 0; i < allocated.size(); ++i)
    for (const Node& node : cluster.nodes) {
      if (node.name != allocated[i].name) continue;
      const auto known = of_cores.find(node.name);
      const int each = known == of_cores.end() ? 1 : known->second;
      const int ours = (slurm_number_of_node(processors, static_cast<int>(i)) + each - 1) / each;
      if (ours > 0 && ours < node.core_count())
        return fmt::format("the allocation has {} of the {} cores of node {}, and nothing keeps the job to them: ask Slurm for "
                           "--exclusive or for --cpus-per-task",
                           ours, node.core_count(), node.name);
    }
  return "";
}

}  // namespace tally
