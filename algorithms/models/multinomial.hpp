#pragma once
#include "algorithms/registry.hpp"

namespace tally {

// Mixture of multinomial rows of counts.
FamilyEntry multinomial_entry();

}  // namespace tally
