#pragma once
#include <cmath>
#include <numbers>

#include "core/view.hpp"

namespace tally {

// The logarithm of a product of numbers from 0 on, which itself may be far outside the range of doubles: one logarithm
// for all of them.
class LogProduct {
 public:
  TALLY_HD void multiply(double factor) {
    if (!moderate(factor)) factor = take_exponent(factor);
    product_ *= factor;
    if (!moderate(product_)) product_ = take_exponent(product_);
  }
  // -inf where a factor was 0; NaN where one was.
  TALLY_HD double log() const { return std::log(product_) + static_cast<double>(exponent_) * std::numbers::ln2; }

 private:
  TALLY_HD static bool moderate(double value) { return value > 0x1p-500 && value < 0x1p500; }
  TALLY_HD double take_exponent(double value) {
    int exponent = 0;
    const double fraction = std::frexp(value, &exponent);
    if (value > 0 && std::isfinite(value)) exponent_ += exponent;
    return fraction;
  }

  double product_ = 1;
  Index exponent_ = 0;
};

}  // namespace tally
