#pragma once
#include "launch/context.hpp"

namespace tally {

// `tally bench`.
void add_bench_command(CLI::App& app, const Choose& choose);

}  // namespace tally
