#pragma once
#include <string>
#include <vector>

namespace tally::bench {

// What a fit says, and what it is held against.
struct FitResults {
  std::vector<double> trace;  // objectives of its iterations
  bool larger_is_better = true;
  double sum_of_rows = 0;         // of the rows' own objectives, evaluated once more
  std::vector<double> some_rows;  // of these,
  std::vector<double>
      naive_rows;  // and what the textbook's double loop says of the same rows; empty: it knows no such model
};

struct Tolerances {
  double row = 1e-8;     // of a row's objective, relative to 1 + its magnitude
  double total = 1e-11;  // of the sum, relative
};

// What is wrong with a fit, or nothing: its last objective must be the sum of the rows' own, these must be the naive ones, and
// no iteration may make the objective worse.
std::string find_error(const FitResults& results, const Tolerances& tolerances);

// "right", or "WRONG: " and what is wrong.
std::string verdict(const std::string& error);

}  // namespace tally::bench
