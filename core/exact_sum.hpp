#pragma once
#include <cstdint>
#include <limits>
#include <span>

#include "core/view.hpp"

namespace tally {

// Sums that do not depend on their order: each value is rounded once to a grid that all ranks share and is
// then added as an integer, in two 64-bit limbs. docs/numerics.md has the mathematics.

// The low limb counts 2^-grid_low_bits of the high limb's unit.
inline constexpr int grid_low_bits = 42;
// So many values (or carried sums of other shards) may be added to a carried sum before `carry` is due.
inline constexpr Index additions_per_carry = Index{1} << 20;

// The grid on which the sums of one field are kept: values below 2^exponent in magnitude fit, and
// 2^headroom_bits of them may be added. An exponent is at most 1024 and headroom_bits 0 to 60.
struct Grid {
  int exponent = 0;
  int headroom_bits = 20;

  // 2^(62 - headroom_bits - exponent), at most 2^1023: value * unit() is in units of the high limb. The limit
  // is met only by exponents below -960; the grid is then 2^-1065, nearly the spacing of subnormal numbers.
  double unit() const;
};

// The grid with the smallest exponent e such that bound < 2^e; at least -1000, so that a bound of zero has a
// grid too. Throws UsageError where bound is negative or not finite, or headroom_bits is not within 0 to 60.
Grid make_grid(double bound, int headroom_bits);

// What happened while values were added.
struct GridReport {
  Index misfits = 0;     // finite values too large for the grid
  Index non_finite = 0;  // infinities and NaN
  // The smallest e with |value| < 2^e for every finite value, fitting or not: the exponent that a repeat of
  // the pass needs. The initial one where all values were zero.
  int largest_exponent = std::numeric_limits<int>::min();

  bool all_added() const { return misfits == 0 && non_finite == 0; }
  void merge(const GridReport& other);
};

// Adds each value, rounded once to the grid (to nearest, ties to even), to its two limbs: high[i] counts
// 1 / unit() and low[i] counts 2^-grid_low_bits of that. A value below half the grid's spacing adds zero. A value
// that does not fit or is not finite adds nothing and is reported. The owner calls `carry` after at most
// additions_per_carry additions to one element. The limbs have the same bits on every processor.
GridReport add_to_grid(const Grid& grid, std::span<const double> values, std::int64_t* high,
                       std::int64_t* low);

// Moves what the low limbs hold beyond 42 bits to the high limbs; leaves 0 <= low < 2^42. Limbs of up to
// additions_per_carry carried shards may be added element by element, then carried again.
void carry(std::span<std::int64_t> high, std::span<std::int64_t> low);

// The sum that two limbs hold, carried or not, rounded once to double.
double grid_value(const Grid& grid, std::int64_t high, std::int64_t low);

}  // namespace tally
