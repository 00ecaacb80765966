#pragma once
#include "launch/context.hpp"
#include "launch/fit_inputs.hpp"

namespace tally {

// Runs a fit from its files to its model file; rank 0 prints the result. Returns the exit status. Collective.
int run_fit(const FitRequest& request, CommandContext& context);

}  // namespace tally
