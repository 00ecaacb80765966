#pragma once
#include <cmath>
#include <vector>

#include "core/view.hpp"

namespace tally {

// z = (x - centre) * 2^-exponent, column by column: one rounding a value, the scaling exact. Models compute on z;
// parameters leave in the user's units.
struct Standardisation {
  std::vector<double> centre;   // (D)
  std::vector<int> exponent;    // (D)
  // (D), or empty: the columns' means in the user's units, for models that do not centre rows: they take log-densities
  // relative to those of a typical row, or bounds relative to the means. Rows do not change by it.
  std::vector<double> reference = {};

  Index columns() const noexcept { return static_cast<Index>(centre.size()); }
  // The factor that leads from x - centre to z.
  double scale(Index d) const { return std::ldexp(1.0, -exponent[static_cast<std::size_t>(d)]); }
  // The factor that leads back.
  double unit(Index d) const { return std::ldexp(1.0, exponent[static_cast<std::size_t>(d)]); }

  static Standardisation none(Index columns) {
    return {std::vector<double>(static_cast<std::size_t>(columns), 0.0),
            std::vector<int>(static_cast<std::size_t>(columns), 0)};
  }
};

}  // namespace tally
