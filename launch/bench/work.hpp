#pragma once
#include <string>

#include "launch/bench/problem.hpp"

namespace tally::bench {

// What an iteration cannot do without, whatever the program: floating-point operations, by the convention stated, and bytes of
// rows, each read once.
struct Work {
  double operations = 0;  // 0: not known of this model
  std::string convention;
  double bytes = 0;
};
Work work_of(const Workload& workload);

}  // namespace tally::bench
