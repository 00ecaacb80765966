#pragma once
#include "core/view.hpp"

namespace tally {

// Position of x_a x_b, a <= b, among the packed products of D columns.
TALLY_HD inline Index packed_index(Index a, Index b, Index D) { return a * D - a * (a - 1) / 2 + (b - a); }

}  // namespace tally
