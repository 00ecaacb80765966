#pragma once

namespace tally {

// A sum and what rounding took from it: about twice the digits of a double (D. E. Knuth, The Art of Computer Programming
// 2, section 4.2.2).
struct CompensatedSum {
  double rounded = 0, rest = 0;

  void add(double value) {
    const double sum = rounded + value, of_value = sum - rounded;
    rest += (rounded - (sum - of_value)) + (value - of_value);
    rounded = sum;
  }
  double value() const { return rounded + rest; }
};

}  // namespace tally
