#pragma once
#include <cmath>
#include <compare>
#include <limits>
#include <string>

#include "core/view.hpp"

namespace tally {

// Why a value is none of a domain's, or, the last, a whole row is none.
enum class ValueFault : int { none, not_a_number, infinite, negative, zero, fractional, too_large, length };
inline constexpr Index value_faults = static_cast<Index>(ValueFault::length) + 1;

enum class Sign : int { any, not_negative, positive };

// Whether NaN stands for a value that was not observed: never, where --missing nan asks for it, or here.
enum class MissingValues : int { refused, offered, taken };

// What values a model takes: any finite number, those from 0 on or above it, or whole numbers from 0 to the largest; and
// whether the values of a row are a vector of length 1, and whether some of them may be missing.
struct Domain {
  bool whole = false;
  double largest = std::numeric_limits<double>::infinity();
  Sign sign = Sign::any;
  bool unit_length = false;
  MissingValues missing = MissingValues::refused;

  // How far a row's length may be from 1: vectors that were divided by their length in single precision pass.
  static constexpr double length_tolerance = 1e-5;

  static const Domain real, not_negative, positive, counts, unit_vectors;
  // 0 to count - 1.
  static constexpr Domain symbols(Index count) { return {true, static_cast<double>(count - 1), Sign::not_negative}; }

  // The same of a model that has --missing, which takes missing values or does not.
  constexpr Domain with_missing(bool taken) const {
    Domain domain = *this;
    domain.missing = taken ? MissingValues::taken : MissingValues::offered;
    return domain;
  }

  bool bounded() const noexcept { return largest < std::numeric_limits<double>::infinity(); }
  bool takes_nan() const noexcept { return missing == MissingValues::taken; }
  // Whether every row of finite numbers is one of the domain's.
  bool takes_any() const noexcept { return !whole && sign == Sign::any && !unit_length; }
  bool takes(double x) const noexcept {
    if (!std::isfinite(x) || (x < 0 && sign != Sign::any) || (x == 0 && sign == Sign::positive)) return false;
    return !whole || (x <= largest && x == std::floor(x));
  }
  bool takes_length(const double* row, Index columns) const noexcept {
    if (!unit_length) return true;
    double squares = 0;
    for (Index d = 0; d < columns; ++d) squares += row[d] * row[d];
    return std::abs(std::sqrt(squares) - 1) <= length_tolerance;
  }
  ValueFault fault_of(double x) const noexcept {
    if (takes(x) || (std::isnan(x) && takes_nan())) return ValueFault::none;
    if (std::isnan(x)) return ValueFault::not_a_number;
    if (std::isinf(x)) return ValueFault::infinite;
    if (x < 0) return ValueFault::negative;
    if (x == 0) return ValueFault::zero;
    return x > largest ? ValueFault::too_large : ValueFault::fractional;
  }
  // "x row 3, column 1 is negative (rows and columns are counted from 0); this model takes counts from 0 on".
  std::string message(const std::string& row, Index column, ValueFault fault) const {
    if (fault == ValueFault::length)
      return row + " " + words(fault) + " (rows are counted from 0); " + advice(fault);
    return row + ", column " + std::to_string(column) + " " + words(fault) + " (rows and columns are counted from 0); " +
           advice(fault);
  }

  friend auto operator<=>(const Domain&, const Domain&) = default;

 private:
  // "is negative", say.
  std::string words(ValueFault fault) const {
    switch (fault) {
      case ValueFault::not_a_number: return "is NaN";
      case ValueFault::infinite: return "is infinite";
      case ValueFault::negative: return "is negative";
      case ValueFault::zero: return "is 0";
      case ValueFault::fractional: return "is not a whole number";
      case ValueFault::too_large: return "is above " + whole_text(largest);
      case ValueFault::length: return "is no vector of length 1";
      case ValueFault::none: break;
    }
    return "";
  }
  // What to do about it.
  std::string advice(ValueFault fault) const {
    if (fault == ValueFault::not_a_number)
      return missing == MissingValues::offered ? "remove the row, fill the value, or let --missing nan take it for missing"
                                               : "remove the row or fill the value";
    if (fault == ValueFault::infinite) return "remove the row or replace the value";
    if (fault == ValueFault::length) return "divide each row by its Euclidean length";
    if (bounded()) return "this model takes whole numbers from 0 to " + whole_text(largest);
    if (whole) return "this model takes counts from 0 on";
    return sign == Sign::positive ? "this model takes numbers above 0" : "this model takes numbers from 0 on";
  }
  static std::string whole_text(double value) { return std::to_string(static_cast<long long>(value)); }
};

inline constexpr Domain Domain::real{};
inline constexpr Domain Domain::not_negative{.sign = Sign::not_negative};
inline constexpr Domain Domain::positive{.sign = Sign::positive};
inline constexpr Domain Domain::counts{.whole = true, .sign = Sign::not_negative};
inline constexpr Domain Domain::unit_vectors{.unit_length = true};

}  // namespace tally
