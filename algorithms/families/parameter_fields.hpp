#pragma once
#include <span>

#include "algorithms/model.hpp"

namespace tally {

// Describes a field that files hold as it is computed with.
void describe_field(const Field& field, std::span<const double> parameters, NamedArrays& arrays);

// The array that a start gives for this field of K components, or null. That of one column may lack the columns' axis.
// Throws DataError: another shape, or values that are not finite.
const Array* find_given(const NamedArrays& arrays, const Field& field);

// How far a start from a sample moves towards all rows: what the sample shows of no component may be in the data.
inline constexpr double start_softening = 0.01;

// Moves each component's values (K, D) so far towards those of all rows (D).
void soften(MatrixView<double> values, std::span<const double> overall);

// Of moments (K, P) with two sums for each of D columns, at 1 + d and 1 + D + d, both 0 where a component has no observed value
// of the column: gives such a component those of all components.
void borrow_unobserved(MatrixView<double> moments, Index columns);

}  // namespace tally
