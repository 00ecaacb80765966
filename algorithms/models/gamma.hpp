#pragma once
#include "algorithms/registry.hpp"

namespace tally {

// Mixture of independent gamma columns.
FamilyEntry gamma_entry();

}  // namespace tally
