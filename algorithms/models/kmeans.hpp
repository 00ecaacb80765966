#pragma once
#include <memory>

#include "algorithms/registry.hpp"

namespace tally {

// k-means: centroids under hard assignment.
std::unique_ptr<Model> make_kmeans(Index components, Index columns);
ModelEntry kmeans_entry();

}  // namespace tally
