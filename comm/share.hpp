#pragma once
#include <span>

#include "comm/communicator.hpp"

namespace tally {

// Brings numbers that one rank each has written, and the others left 0, to all ranks, bit for bit. Collective.
void share(Communicator& communicator, std::span<double> values);

}  // namespace tally
