#include "launch/bench/spread.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace tally::bench {

Spread spread_of(std::vector<double> values) {
  Spread spread;
  if (values.empty()) return spread;
  std::sort(values.begin(), values.end());
  // Between two of them in proportion, as numpy.quantile has it.
  const auto at = [&](double share) {
    const double position = share * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (position - std::floor(position)) * (values[above] - values[below]);
  };
  spread.best = values.front();
  spread.lower_quartile = at(0.25);
  spread.median = at(0.5);
  spread.upper_quartile = at(0.75);
  spread.worst = values.back();
  spread.samples = static_cast<int>(values.size());
  return spread;
}

}  // namespace tally::bench
