#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/philox.hpp"

namespace tally {

// `gamma` may use the draw numbers from `draw` to `draw + gamma_draws - 1`, `binomial` as many as `poisson`.
inline constexpr std::uint32_t gamma_draws = 64;
inline constexpr std::uint32_t binomial_draws = poisson_draws;

// Gamma of a shape > 0 and scale 1, never 0; host only. G. Marsaglia, W. W. Tsang, "A simple method for generating gamma
// variables", ACM Transactions on Mathematical Software 26, 2000; shapes below 1 by a power of a uniform.
inline double gamma(RandomKey key, std::uint64_t index, std::uint32_t draw, double shape) {
  const double d = (shape < 1 ? shape + 1 : shape) - 1 / 3.0, c = 1 / std::sqrt(9 * d);
  double value = d;  // the probability of no attempt that succeeds is below 1e-40
  for (std::uint32_t attempt = 1; attempt + 1 < gamma_draws; attempt += 2) {
    const double x = normal(key, index, draw + attempt), u = uniform(key, index, draw + attempt + 1);
    const double root = 1 + c * x, v = root * root * root;
    if (root <= 0 || std::log(u) >= 0.5 * x * x + d - d * v + d * std::log(v)) continue;
    value = d * v;
    break;
  }
  if (shape < 1) value *= std::exp(std::log(uniform(key, index, draw)) / shape);
  return value > 0 ? value : std::numeric_limits<double>::min();
}

// Binomial of so many trials, at most 1e9, and a probability; host only. By inversion of one uniform where fewer than 10
// successes (or failures) are expected, else by transformed rejection (BTRS: W. Hörmann, "The generation of binomial random
// variates", Journal of Statistical Computation and Simulation 46, 1993), one draw number an attempt.
inline std::int64_t binomial(RandomKey key, std::uint64_t index, std::uint32_t draw, std::int64_t trials,
                             double probability) {
  const auto n = static_cast<double>(trials);
  if (probability > 0.5) return trials - binomial(key, index, draw, trials, 1 - probability);
  const double p = probability, odds = p / (1 - p);
  if (!(p > 0)) return 0;
  if (n * p < 10) {
    const double u = uniform(key, index, draw);
    double mass = std::exp(n * std::log1p(-p)), cumulative = mass;
    std::int64_t k = 0;
    while (u > cumulative && k < trials && (static_cast<double>(k) < n * p || mass > 0x1p-60)) {
      mass *= (n - static_cast<double>(k)) * odds / static_cast<double>(k + 1);
      ++k;
      cumulative += mass;
    }
    return k;
  }
  const double deviation = std::sqrt(n * p * (1 - p)), b = 1.15 + 2.53 * deviation;
  const double a = -0.0873 + 0.0248 * b + 0.01 * p, v_r = 0.92 - 4.2 / b, alpha = (2.83 + 5.1 / b) * deviation;
  const double mode = std::floor((n + 1) * p);
  const auto log_mass = [&](double k) {
    return k * std::log(odds) - detail::log_factorial(k) - detail::log_factorial(n - k);
  };
  const double at_mode = log_mass(mode);
  for (std::uint32_t attempt = 0; attempt < binomial_draws; ++attempt) {
    const RandomBits bits = random_bits(key, index, draw + attempt);
    const double u = open_unit_interval(bits.first) - 0.5, v = open_unit_interval(bits.second);
    const double us = 0.5 - std::abs(u), k = std::floor((2 * a / us + b) * u + n * p + 0.5);
    if (k < 0 || k > n) continue;
    if ((us >= 0.07 && v <= v_r) || std::log(v * alpha / (a / (us * us) + b)) <= log_mass(k) - at_mode)
      return static_cast<std::int64_t>(k);
  }
  return static_cast<std::int64_t>(mode);  // probability below 1e-20
}

}  // namespace tally
