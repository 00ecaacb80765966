#pragma once
#include <cmath>
#include <compare>
#include <limits>
#include <string>

#include "core/view.hpp"

namespace tally {

// Why a value is none of a domain's.
enum class ValueFault : int { none, not_a_number, infinite, negative, fractional, too_large };

// What values a model takes: any finite number, or whole numbers from 0 to the largest.
struct Domain {
  bool whole = false;
  double largest = std::numeric_limits<double>::infinity();

  static const Domain real, counts;
  // 0 to count - 1.
  static constexpr Domain symbols(Index count) { return {true, static_cast<double>(count - 1)}; }

  bool bounded() const noexcept { return largest < std::numeric_limits<double>::infinity(); }
  bool takes(double x) const noexcept {
    return std::isfinite(x) && (!whole || (x >= 0 && x <= largest && x == std::floor(x)));
  }
  ValueFault fault_of(double x) const noexcept {
    if (takes(x)) return ValueFault::none;
    if (std::isnan(x)) return ValueFault::not_a_number;
    if (std::isinf(x)) return ValueFault::infinite;
    if (x < 0) return ValueFault::negative;
    return x > largest ? ValueFault::too_large : ValueFault::fractional;
  }
  // "is negative", say.
  std::string words(ValueFault fault) const {
    switch (fault) {
      case ValueFault::not_a_number: return "is NaN";
      case ValueFault::infinite: return "is infinite";
      case ValueFault::negative: return "is negative";
      case ValueFault::fractional: return "is not a whole number";
      case ValueFault::too_large: return "is above " + whole_text(largest);
      case ValueFault::none: break;
    }
    return "";
  }
  // What to do about it.
  std::string advice(ValueFault fault) const {
    if (fault == ValueFault::not_a_number) return "remove the row or fill the value";
    if (fault == ValueFault::infinite) return "remove the row or replace the value";
    return bounded() ? "this model takes whole numbers from 0 to " + whole_text(largest)
                     : "this model takes counts from 0 on";
  }

  friend auto operator<=>(const Domain&, const Domain&) = default;

 private:
  static std::string whole_text(double value) { return std::to_string(static_cast<long long>(value)); }
};

inline constexpr Domain Domain::real{};
inline constexpr Domain Domain::counts{true};

}  // namespace tally
