#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

#include "core/precision.hpp"
#include "core/view.hpp"

namespace tally {

// Rows of data with their global numbers, as a lane receives them: a piece of a block, standardised.
template <class Real>
struct Tile {
  Index first_row = 0;
  MatrixView<const Real> x;           // (rows, D)
  const double* weights = nullptr;    // (rows), or null: every row weighs 1
  const double* offsets = nullptr;    // (rows), or null: the part of a row's log-density no parameter changes
  const unsigned char* missing = nullptr;  // (rows), 1: not observed, zeros stand in x; null: none is
  MatrixView<const double> given;     // (rows, 1) labels or (rows, K) responsibilities; no columns: none given

  Index rows() const noexcept { return x.rows; }
};

// Rows of a block: a function of the number of columns alone, never of ranks, memory or components.
constexpr Index block_rows_for(Index columns) {
  constexpr Index most_rows = 4096, most_values = Index{1} << 22;
  const auto fitting = static_cast<std::uint64_t>(most_values / std::max<Index>(columns, 1));
  return std::clamp<Index>(static_cast<Index>(std::bit_floor(std::max<std::uint64_t>(fitting, 1))), 64, most_rows);
}

// Rows that a CPU lane takes through features, products and posterior at a time, so that they stay in its cache:
// the 561 monomials of 32 columns take 0.87 MB. Other heights were measured: docs/performance.md.
constexpr Index tile_rows = 192;

// Of a row of such a tile, the most monomials that are made once for all that reads them. More would leave the cache before they are read:
// they are made slab_width at a time, each time that they are multiplied.
constexpr Index most_kept_monomials = 1024, slab_width = 256;

}  // namespace tally
