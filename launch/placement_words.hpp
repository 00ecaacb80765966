#pragma once
#include <string>

#include "launch/cluster/cluster.hpp"
#include "launch/cluster/placement.hpp"

namespace CLI {
class App;
}

namespace tally {

// What `plan` and `launch` are told about where ranks shall run.
struct PlacementWords {
  std::string cluster;  // file; empty: none
  int ranks = 0, ranks_per_node = 0;

  void add_to(CLI::App& command);
  // With the --device and --threads of the job.
  PlacementRequest request(const Cluster& on, const std::string& device, int threads) const;
};

// Throws DataError.
Cluster read_cluster(const std::string& file);
std::string read_text(const std::string& file);

}  // namespace tally
