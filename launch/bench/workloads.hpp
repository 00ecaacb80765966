#pragma once
#include <string>
#include <vector>

#include "launch/bench/problem.hpp"

namespace tally::bench {

// How large the fits of a benchmark are.
struct Sizes {
  Index rows = 200000;  // of each rank
  Index columns = 32, components = 64;
  Index steps = 100;  // of a sequence
};

struct NamedWorkload {
  std::string name;  // "gmm diag 200000 x 32, K 64"
  Workload workload;
};

// Every model of the registry, with its default options: mixtures once for each shape of their covariances, chains for each
// emission. The name has the rows of one rank.
std::vector<NamedWorkload> workloads_of(const Registry& registry, const Sizes& sizes, Precision precision,
                                        int ranks);

}  // namespace tally::bench
