#pragma once
#include <array>
#include <string>
#include <vector>

#include "core/view.hpp"
#include "launch/bench/spread.hpp"

namespace tally::bench {

// Where an iteration's time goes, as plots and tables have it, in order.
inline constexpr std::array<const char*, 6> split_names = {"read",      "compute", "wait",
                                                           "allreduce", "M-step",  "other"};
using TimeSplit = std::array<double, split_names.size()>;  // seconds, means over ranks and iterations

// What was measured on one number of ranks.
struct ScalingPoint {
  int ranks = 0;
  Index rows = 0;  // in all
  Spread seconds;  // of an iteration
  double processor =
      0;  // seconds of the processor in an iteration's E-step, of the rank that took most; median
  double speedup = 0;  // against the fewest ranks, whose speedup is their number; weak: times the rows
  double efficiency = 0;
  double efficiency_by_processor = 0;  // as if each thread had a core of its own and collectives cost nothing
  double imbalance = 0;                // of reading and computing: the slowest rank over the mean, less 1
  TimeSplit split{};
};

// Speedup and efficiency against ranks beside what is ideal, and the split, for strong and for weak scaling: SVG. Either may be
// empty.
std::string scaling_plot(const std::string& title, const std::string& subtitle,
                         const std::vector<ScalingPoint>& strong, const std::vector<ScalingPoint>& weak);

}  // namespace tally::bench
