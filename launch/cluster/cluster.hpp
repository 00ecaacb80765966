#pragma once
#include <string>
#include <vector>

#include "core/view.hpp"

namespace tally {

// What a job may run on, as it was read from the machines or from a file; nothing here looks at a machine.

struct Gpu {
  int number = 0;          // among those that the host shows
  std::string identity;    // PCI bus id
  std::string name;
  Index memory_bytes = 0;  // 0: not known
  int domain = -1;         // the memory domain it is attached to; -1: not known
};

// Memory and the cores near it (NUMA).
struct MemoryDomain {
  std::vector<int> cores;  // of each, the number that Linux gives its first processor
  Index memory_bytes = 0;
};

struct Node {
  std::string name;
  int most_ranks = 0;  // that the allocation allows; 0: any number
  std::vector<MemoryDomain> domains;
  std::vector<Gpu> gpus;
  std::vector<std::string> hidden_gpus;  // PCI bus ids of those that the driver has and that CUDA does not show
  std::string mpi;  // the library that its ranks load: "Open MPI 4.1.4"; empty: not known

  int core_count() const noexcept;
};

struct Cluster {
  std::vector<Node> nodes;
};

// The JSON of docs/cluster.md: {"nodes": [{"name", "domains": [{"cores": "0-31", "memory_bytes"}], "gpus": [...]}]}. A node
// with "count" stands for so many alike, and {} in its name for their numbers from 0. Throws DataError.
Cluster parse_cluster(const std::string& json, const std::string& source);
std::string to_json(const Cluster& cluster);

}  // namespace tally
