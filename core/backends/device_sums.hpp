#pragma once
#include <cmath>
#include <cstdint>

#include "core/exact_sum.hpp"
#include "core/view.hpp"

// Exact sums where the statistics are: functors of one index, as in generic_kernels.hpp. Each element has limbs and
// counts of its own, so no two calls touch the same place; lanes are merged by adding integers.
namespace tally::generic {

// What an element's sum has met besides values that fit.
struct Misses {
  std::int64_t misfits;     // finite values too large for the grid
  std::int64_t non_finite;  // infinities and NaN
  double largest;           // magnitude of a finite value
};

// Adds each value, rounded once to its grid, to its two limbs: the same integer, high 2^42 + low, as add_to_grid.
struct AddToSums {
  const double* values;
  Index size;
  const double* limits;  // (size): 2^exponent of the element's grid
  const double* units;   // (size): Grid::unit
  std::int64_t* high;    // (size)
  std::int64_t* low;     // (size)
  Misses* misses;        // (size)

  Index count() const { return size; }
  TALLY_HD void operator()(Index i) const {
    const double value = values[i], magnitude = std::fabs(value);
    if (!(magnitude <= 1.7976931348623157e308)) {
      ++misses[i].non_finite;
      return;
    }
    if (magnitude > misses[i].largest) misses[i].largest = magnitude;
    if (!(magnitude < limits[i])) {
      ++misses[i].misfits;
      return;
    }
    const double scaled = value * units[i];
    const auto whole = static_cast<std::int64_t>(std::llrint(scaled));
    const double fraction = scaled - static_cast<double>(whole);  // exact: beyond 2^53 there is none
    high[i] += whole;
    low[i] += static_cast<std::int64_t>(std::llrint(fraction * static_cast<double>(std::int64_t{1} << grid_low_bits)));
  }
};

// See tally::carry.
struct CarrySums {
  std::int64_t* high;
  std::int64_t* low;
  Index size;

  Index count() const { return size; }
  TALLY_HD void operator()(Index i) const {
    high[i] += low[i] >> grid_low_bits;
    low[i] &= (std::int64_t{1} << grid_low_bits) - 1;
  }
};

// Adds carried sums and their counts to others.
struct MergeSums {
  const std::int64_t* from_high;
  const std::int64_t* from_low;
  const Misses* from_misses;
  std::int64_t* high;
  std::int64_t* low;
  Misses* misses;
  Index size;

  Index count() const { return size; }
  TALLY_HD void operator()(Index i) const {
    high[i] += from_high[i];
    low[i] += from_low[i];
    misses[i].misfits += from_misses[i].misfits;
    misses[i].non_finite += from_misses[i].non_finite;
    if (from_misses[i].largest > misses[i].largest) misses[i].largest = from_misses[i].largest;
  }
};

// to[i] = what the i-th run of elements missed together. Two of them take in any number of elements.
struct SumMisses {
  const Misses* from;
  Index size;
  Index run;
  Misses* to;

  Index count() const { return (size + run - 1) / run; }
  TALLY_HD void operator()(Index i) const {
    Misses sum = {0, 0, 0};
    const Index last = (i + 1) * run < size ? (i + 1) * run : size;
    for (Index j = i * run; j < last; ++j) {
      sum.misfits += from[j].misfits;
      sum.non_finite += from[j].non_finite;
      if (from[j].largest > sum.largest) sum.largest = from[j].largest;
    }
    to[i] = sum;
  }
};

struct CopyIntegers {
  const std::int64_t* from;
  std::int64_t* to;
  Index size;

  Index count() const { return size; }
  TALLY_HD void operator()(Index i) const { to[i] = from[i]; }
};

}  // namespace tally::generic
