#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <utility>

namespace tally {

// A number from 0 on, as precise as a double and of any size: a significand in [1, 2), or 0, times a power of 2.
class Wide {
 public:
  constexpr Wide() = default;
  explicit Wide(double value) {
    if (!(value > 0)) return;
    int exponent = 0;
    significand_ = 2 * std::frexp(value, &exponent);
    exponent_ = exponent - 1;
  }
  // exp(logarithm), 0 where that is -inf.
  static Wide of_log(double logarithm) {
    Wide result;
    if (!(logarithm > -std::numeric_limits<double>::infinity())) return result;
    const double exponent = std::floor(logarithm * std::numbers::log2e);
    // ln 2 in two parts, so that the difference keeps its digits.
    constexpr double high = 0x1.62e42fefa3800p-1, low = 0x1.ef35793c76730p-45;
    result = Wide(std::exp(logarithm - exponent * high - exponent * low));
    result.exponent_ += static_cast<std::int64_t>(exponent);
    return result;
  }

  double log() const { return std::log(significand_) + static_cast<double>(exponent_) * std::numbers::ln2; }
  // Rounds to 0 or infinity where no double can hold it.
  double value() const {
    constexpr std::int64_t most = 5000;
    return std::ldexp(significand_, static_cast<int>(exponent_ < -most ? -most : exponent_ > most ? most : exponent_));
  }
  explicit operator bool() const { return significand_ > 0; }

  friend Wide operator*(Wide a, Wide b) {
    Wide product;
    product.significand_ = a.significand_ * b.significand_;
    product.exponent_ = a.exponent_ + b.exponent_;
    product.carry();
    return product;
  }
  friend Wide operator/(Wide a, Wide b) {
    Wide quotient;
    quotient.significand_ = a.significand_ / b.significand_;
    quotient.exponent_ = a.exponent_ - b.exponent_;
    if (quotient.significand_ < 1 && quotient.significand_ > 0) {
      quotient.significand_ *= 2;
      --quotient.exponent_;
    }
    return quotient;
  }
  friend Wide operator+(Wide a, Wide b) {
    if (!a) return b;
    if (!b) return a;
    if (a.exponent_ < b.exponent_) std::swap(a, b);
    const std::int64_t apart = a.exponent_ - b.exponent_;
    constexpr std::int64_t negligible = 64;
    if (apart > negligible) return a;
    a.significand_ += b.significand_ * std::bit_cast<double>(static_cast<std::uint64_t>(1023 - apart) << 52);
    a.carry();
    return a;
  }
  Wide& operator+=(Wide other) { return *this = *this + other; }
  friend bool operator<(Wide a, Wide b) {
    if (!a || !b) return !a && static_cast<bool>(b);
    return a.exponent_ != b.exponent_ ? a.exponent_ < b.exponent_ : a.significand_ < b.significand_;
  }

 private:
  void carry() {
    if (significand_ < 2) return;
    significand_ *= 0.5;
    ++exponent_;
  }

  double significand_ = 0;
  std::int64_t exponent_ = 0;
};

}  // namespace tally
