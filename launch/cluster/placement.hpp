#pragma once
#include <string>
#include <vector>

#include "launch/cluster/cluster.hpp"

namespace tally {

// Where one rank runs.
struct RankPlace {
  int node = 0;
  int local_rank = 0;      // among the ranks of its node
  std::vector<int> cores;  // that it alone is bound to; empty where there are fewer cores than ranks
  std::vector<int> domains;  // whose memory it uses
  int gpu = -1;              // place in Node::gpus; -1: none
};

struct PlacementRequest {
  bool gpus = false;       // one rank a GPU, on its share of the cores near it; else one a memory domain
  int ranks_per_node = 0;  // 0: as above
  int ranks = 0;           // in all, node after node; more than that is spread by cores; 0: as above
  int threads = 0;         // cores of a rank at most; 0: its share
  bool gpus_welcome = false;  // the job takes GPUs where every rank has one
};

struct Placement {
  std::vector<RankPlace> ranks;  // in the order of their numbers: node by node
  std::vector<std::string> warnings;

  int threads_of(int rank) const;
  std::vector<int> ranks_of_nodes(const Cluster& cluster) const;
};

// A function of its arguments alone. Throws UsageError where the request does not fit the cluster: no GPU on a node, more
// ranks asked for than there is room for.
Placement place_ranks(const Cluster& cluster, const PlacementRequest& request);

}  // namespace tally
