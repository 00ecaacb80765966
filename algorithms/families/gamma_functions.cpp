#include "algorithms/families/gamma_functions.hpp"

#include <cmath>
#include <numbers>

namespace tally {
namespace {

constexpr double asymptotic_from = 16;
constexpr int most_steps = 50;
constexpr double converged = 4e-16;

}  // namespace

double log_gamma_rest(double a) {
  const double from = a;
  double product = 1;
  for (; a < asymptotic_from; ++a) product *= a;
  const double w = 1 / (a * a);
  const double rest = 0.5 * std::log(2 * std::numbers::pi / a) +
                      (1.0 / 12 - (1.0 / 360 - (1.0 / 1260 - (1.0 / 1680 - (1.0 / 1188 - 691.0 / 360360 * w) * w) * w) * w) * w) / a;
  return from == a ? rest : rest + a * std::log(a) - a - std::log(product) - (from * std::log(from) - from);
}

double log_minus_digamma(double a) {
  const double from = a;
  double inverses = 0;
  for (; a < asymptotic_from; ++a) inverses += 1 / a;
  const double w = 1 / (a * a);
  const double rest =
      (1.0 / 12 - (1.0 / 120 - (1.0 / 252 - (1.0 / 240 - (1.0 / 132 - (691.0 / 32760 - 1.0 / 12 * w) * w) * w) * w) * w) * w) * w;
  return 0.5 / a + rest + inverses + (from == a ? 0 : std::log(from / a));
}

double trigamma_minus_inverse(double a) {
  const double from = a;
  double squares = 0;
  for (; a < asymptotic_from; ++a) squares += 1 / (a * a);
  const double w = 1 / (a * a);
  const double rest =
      (1.0 / 6 - (1.0 / 30 - (1.0 / 42 - (1.0 / 30 - (5.0 / 66 - (691.0 / 2730 - 7.0 / 6 * w) * w) * w) * w) * w) * w) * w / a;
  return 0.5 * w + rest + squares + (from == a ? 0 : (from - a) / (a * from));
}

double digamma(double a) { return std::log(a) - log_minus_digamma(a); }

double inverse_log_minus_digamma(double value) {
  double a = (3 - value + std::sqrt((value - 3) * (value - 3) + 24 * value)) / (12 * value);
  for (int step = 0; step < most_steps; ++step) {
    const double before = a;
    a = 1 / (1 / a - (log_minus_digamma(a) - value) / (a * a * trigamma_minus_inverse(a)));
    if (std::abs(a - before) <= converged * a) break;
  }
  return a;
}

double inverse_digamma(double value) {
  double a = value >= -2.22 ? std::exp(value) + 0.5 : -1 / (value + std::numbers::egamma);
  for (int step = 0; step < most_steps; ++step) {
    const double before = a;
    a -= (digamma(a) - value) / (trigamma_minus_inverse(a) + 1 / a);
    if (std::abs(a - before) <= converged * a) break;
  }
  return a;
}

}  // namespace tally
