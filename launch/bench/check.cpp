#include "launch/bench/check.hpp"

#include <cmath>
#include <cstddef>

namespace tally::bench {

std::string find_error(const FitResults& results, const Tolerances& tolerances) {
  const std::vector<double>& trace = results.trace;
  if (trace.empty()) return "the fit has no objective";
  if (!(std::abs(results.sum_of_rows - trace.back()) <= tolerances.total * std::abs(results.sum_of_rows)))
    return "the rows sum to " + std::to_string(results.sum_of_rows) + ", the fit says " +
           std::to_string(trace.back());
  for (std::size_t i = 0; i < results.naive_rows.size(); ++i) {
    const double expected = results.naive_rows[i];
    if (!(std::abs(results.some_rows[i] - expected) <= tolerances.row * (1 + std::abs(expected))))
      return "row " + std::to_string(i) + " has " + std::to_string(results.some_rows[i]) +
             ", the naive loop " + std::to_string(expected);
  }
  const double sign = results.larger_is_better ? 1 : -1;
  for (std::size_t i = 1; i < trace.size(); ++i)
    if (!(sign * (trace[i] - trace[i - 1]) >= -tolerances.total * std::abs(trace[i])))
      return "the objective gets worse in iteration " + std::to_string(i);
  return "";
}

std::string verdict(const std::string& error) {
  return error.empty() ? "right" : "WRONG: " + error;
}

}  // namespace tally::bench
