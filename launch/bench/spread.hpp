#pragma once
#include <vector>

namespace tally::bench {

// Repeated measurements of one thing: the quartiles say how far to trust the median. All 0 where there are none.
struct Spread {
  double best = 0, lower_quartile = 0, median = 0, upper_quartile = 0, worst = 0;
  int samples = 0;
};
Spread spread_of(std::vector<double> values);

}  // namespace tally::bench
