#pragma once
#include "algorithms/model.hpp"

namespace tally {

// The array that a start gives for this field of K components, or null. That of one column may lack the columns' axis.
// Throws DataError: another shape, or values that are not finite.
const Array* find_given(const NamedArrays& arrays, const Field& field);

}  // namespace tally
