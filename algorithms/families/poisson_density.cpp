#include "algorithms/families/poisson_density.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <numbers>

namespace tally {
namespace {

// log(n!) of n < 16.
double log_factorial(std::size_t n) {
  static const auto logs = [] {
    std::array<double, 16> table{};
    double factorial = 1;  // exact
    for (std::size_t i = 2; i < table.size(); ++i) table[i] = std::log(factorial *= static_cast<double>(i));
    return table;
  }();
  return logs[n];
}

// x log(x / rate) + rate - x >= 0. Near rate by the series (x - rate) v + 2x (v^3 / 3 + v^5 / 5 + ...) of Loader, which
// has v = (x - rate) / (x + rate) and no cancellation. What is left out is below 1e-18 of it.
double deviance(double x, double rate) {
  const double difference = x - rate, v = difference / (x + rate);
  if (std::abs(v) >= 0.1) return x * log_ratio(x, rate) - difference;
  const double w = v * v;
  double series = 0;
  for (const double coefficient : {1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3})
    series = series * w + coefficient;
  return difference * v + 2 * v * x * w * series;
}

// log(x!) - log(sqrt(2 pi x) (x / e)^x) of x >= 16: the next term of the series is below 1.2e-16.
double stirling_error(double x) {
  const double w = 1 / (x * x);
  return (1.0 / 12 - (1.0 / 360 - (1.0 / 1260 - (1.0 / 1680 - 1.0 / 1188 * w) * w) * w) * w) / x;
}

}  // namespace

double log_ratio(double a, double b) {
  const double ratio = a / b;
  return ratio > 0.5 && ratio < 2 ? std::log1p((a - b) / b) : std::log(ratio);
}

double poisson_log_density(double x, double rate) {
  if (x == 0) return -rate;
  if (x < 16) return x * std::log(rate) - rate - log_factorial(static_cast<std::size_t>(x));
  return -stirling_error(x) - deviance(x, rate) - 0.5 * std::log(2 * std::numbers::pi * x);
}

}  // namespace tally
