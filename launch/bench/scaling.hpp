#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "launch/bench/scaling_plot.hpp"
#include "launch/context.hpp"
#include "launch/iteration_times.hpp"

namespace tally::bench {

// `tally bench scaling`, under `tally bench`.
CLI::App* add_scaling_command(CLI::App& bench, const ChooseAlone& choose);

// What one fit on some ranks said.
struct ScalingRun {
  Index rows = 0;
  double total = 0;  // objective
  std::vector<RankTimes> ranks;
};

// The point of a number of ranks from its runs, without what needs other points. A run's first iteration, which also allocates,
// does not count where there are more. `seconds` and `processor`, if not null, get an entry for each iteration, of the rank that
// took most.
ScalingPoint point_of(std::span<const ScalingRun> runs, std::vector<double>* seconds = nullptr,
                      std::vector<double>* processor = nullptr);

// Sets speedups and efficiencies against the first point.
void compare_with_first(std::vector<ScalingPoint>& points);

// "1,2,4": ascending, each once. Throws UsageError.
std::vector<int> parse_rank_counts(const std::string& text);

}  // namespace tally::bench
