#pragma once
#include <string>

#include "core/view.hpp"

namespace tally {

// What becomes of a component whose data do not determine it.
enum class OnDegenerate {
  floor,   // a collapsed one has the variance that the ridge gives it, an empty one keeps its parameters
  reseed,  // it becomes one half of the heaviest component
  prune,   // it gets no weight any more
  error,   // the candidate ends
};

// A component that holds less than this fraction of all weight is empty: its sums have no digits left.
constexpr double empty_fraction = 0x1p-60;

// Throws UsageError.
OnDegenerate parse_on_degenerate(const std::string& word);
const char* to_string(OnDegenerate policy);

// A component that an M-step's data do not determine.
struct Degenerate {
  Index component = 0;
  Index column = -1;  // where its covariance collapsed; -1: it is empty

  friend bool operator==(const Degenerate&, const Degenerate&) = default;
};

// "component 3 is empty", "component 3 collapsed in column 1"; counted from 0.
std::string words_of(const Degenerate& degenerate);

}  // namespace tally
