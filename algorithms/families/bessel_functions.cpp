#include "algorithms/families/bessel_functions.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <numbers>

namespace tally {
namespace {

constexpr double expansion_from = 128;
constexpr std::size_t terms = 7;

// U_k(p) as coefficients of p^0 ... p^(3k), by U_(k+1) = p^2 (1 - p^2) U_k' / 2 + integral of (1 - 5 t^2) U_k / 8.
using Polynomial = std::array<double, 3 * terms + 1>;
const std::array<Polynomial, terms>& debye_polynomials() {
  static const auto polynomials = [] {
    std::array<Polynomial, terms> u{};
    u[0][0] = 1;
    for (std::size_t k = 0; k + 1 < terms; ++k)
      for (std::size_t i = 0; i <= 3 * k; ++i) {
        const auto n = static_cast<double>(i);
        u[k + 1][i + 1] += u[k][i] * (n / 2 + 1 / (8 * (n + 1)));
        u[k + 1][i + 3] -= u[k][i] * (n / 2 + 5 / (8 * (n + 3)));
      }
    return u;
  }();
  return polynomials;
}

// log of the sum of U_k(order / root) / order^k.
double log_debye_series(double order, double root) {
  const double p = order / root;
  double sum = 0, power = 1;
  for (const Polynomial& u : debye_polynomials()) {
    double value = 0;
    for (std::size_t i = u.size(); i-- > 0;) value = value * p + u[i];
    sum += value * power;
    power /= order;
  }
  return std::log(sum);
}

// log(I_order(x) / (x^order exp(x))) of a large order.
double log_debye(double order, double x) {
  const double root = std::hypot(order, x);
  return order * order / (root + x) - order * std::log(order + root) - 0.5 * std::log(2 * std::numbers::pi * root) +
         log_debye_series(order, root);
}

// log(I_(order + 1)(x) / I_order(x)) + log(order + 1 + root of order + 1) - log(x), and that root: what is left are
// differences of terms that lie near each other.
double log_debye_ratio(double order, double x, double* sum) {
  const double root = std::hypot(order, x), next_root = std::hypot(order + 1, x);
  const double step = (2 * order + 1) / (root + next_root);  // of the roots
  *sum = order + 1 + next_root;
  return step + order * std::log1p(-(1 + step) / *sum) - 0.5 * std::log1p(step / root) +
         log_debye_series(order + 1, next_root) - log_debye_series(order, root);
}

// The first order from 128 on that lies a whole number above.
double raised(double order) { return order >= expansion_from ? order : order + std::ceil(expansion_from - order); }

}  // namespace

// I_(v-1) / I_v = 2 v / x + I_(v+1) / I_v: with q_v = I_(v+1) / (x I_v), 1 / q_(v-1) = 2 v + x^2 q_v.
double log_scaled_bessel(double order, double x) {
  const double high = raised(order);
  double sum = 0;
  const double log_ratio = log_debye_ratio(high, x, &sum);
  double q = std::exp(log_ratio) / sum, product = 1, log_product = 0;
  for (double v = high; v > order + 0.5; --v) {
    q = 1 / (2 * v + x * (x * q));
    product *= q * (high + x);  // each factor within 1/2 and high + 1
    if (product > 1e200) {
      log_product += std::log(product);
      product = 1;
    }
  }
  log_product += std::log(product) - (high - order) * std::log(high + x);
  return log_debye(high, x) - log_product;
}

// With B_v = 1 - I_(v+1) / I_v: B_(v-1) = (2 v / x - B_v) / (2 v / x + 1 - B_v).
double bessel_ratio_complement(double order, double x) {
  if (x == 0) return 1;
  const double high = raised(order);
  double sum = 0;
  const double log_ratio = log_debye_ratio(high, x, &sum);
  // sum / x = 1 + (order + 1 + (next root - x)) / x
  const double above = (high + 1 + (high + 1) * (high + 1) / (std::hypot(high + 1, x) + x)) / x;
  double complement = -std::expm1(log_ratio - std::log1p(above));
  for (double v = high; v > order + 0.5; --v) {
    const double lead = 2 * v / x;
    complement = (lead - complement) / (lead + 1 - complement);
  }
  return complement;
}

}  // namespace tally
