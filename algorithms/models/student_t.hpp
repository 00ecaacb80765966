#pragma once
#include "algorithms/registry.hpp"

namespace tally {

// Mixture of multivariate Student t components.
FamilyEntry student_t_entry();

}  // namespace tally
