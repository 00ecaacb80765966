#pragma once
#include <memory>

#include "algorithms/families/gaussian.hpp"
#include "algorithms/registry.hpp"

namespace tally {

// Mixture of multivariate normals.
std::unique_ptr<Model> make_gaussian_mixture(Index components, Index columns, const GaussianOptions& options);
FamilyEntry gmm_entry();

}  // namespace tally
