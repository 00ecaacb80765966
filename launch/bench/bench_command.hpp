#pragma once
#include "launch/context.hpp"

namespace tally {

// `tally bench`, and `tally bench scaling`, which runs alone.
void add_bench_command(CLI::App& app, const Choose& choose, const ChooseAlone& choose_alone);

}  // namespace tally
