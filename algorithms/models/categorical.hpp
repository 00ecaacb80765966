#pragma once
#include <memory>

#include "algorithms/families/categorical.hpp"
#include "algorithms/registry.hpp"

namespace tally {

// Mixture of independent columns of symbols.
std::unique_ptr<Model> make_categorical_mixture(Index components, Index columns, const CategoricalOptions& options);
FamilyEntry categorical_entry();

}  // namespace tally
