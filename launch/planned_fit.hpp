#pragma once
#include <span>
#include <string>

#include "launch/cluster/job_plan.hpp"
#include "launch/fit_inputs.hpp"

namespace tally {

struct CommandContext;

// The request that these words are, "fit" and what follows, for the command of this name. Throws UsageError.
FitRequest parse_planned_fit(const char* command, std::span<const std::string> words, CommandContext& context);
// What such a fit asks of its ranks, on GPUs or processors.
JobShape shape_of(const FitRequest& request, const FitInputs& inputs, bool gpus);

}  // namespace tally
