#pragma once
#include <algorithm>
#include <type_traits>
#include <vector>

#include "core/backends/cpu_kernels.hpp"
#include "core/shard.hpp"

namespace tally {

// Standardises raw rows (rows, D). Missing rows and rows of weight zero become zeros, so that not even 1e300 in them
// counts.
template <class Real>
void standardise(MatrixView<const double> raw, const double* weights, const unsigned char* missing,
                 const double* centre, const double* scale, MatrixView<Real> out) {
  cpu::standardise_rows(raw, centre, scale, out);
  if (!weights && !missing) return;
  for (Index i = 0; i < raw.rows; ++i)
    if ((weights && weights[i] == 0) || (missing && missing[i])) std::fill_n(out.row(i), raw.cols, Real{0});
}

// Cuts stored blocks into standardised tiles; one per lane. Resident rows are passed on where they lie, streamed ones
// are standardised into a buffer of the lane's own.
template <class Real>
class TileReader {
 public:
  TileReader(const Preparation& preparation, Index rows_per_tile)
      : preparation_(&preparation), rows_per_tile_(rows_per_tile) {
    const Index D = preparation.standardisation.columns();
    scale_.resize(static_cast<std::size_t>(D));
    for (Index d = 0; d < D; ++d) scale_[static_cast<std::size_t>(d)] = preparation.standardisation.scale(d);
  }

  // Calls visit(Tile<Real>) for each tile of the block, in order.
  template <class Visit>
  void for_each_tile(const StoredBlock& block, Index given_columns, Visit&& visit) {
    for (Index first = 0; first < block.rows; first += rows_per_tile_) {
      const Index rows = std::min(rows_per_tile_, block.rows - first);
      Tile<Real> tile;
      tile.first_row = block.first_row + first;
      tile.weights = block.weights ? block.weights + first : nullptr;
      tile.offsets = block.offsets ? block.offsets + first : nullptr;
      tile.missing = block.missing ? block.missing + first : nullptr;
      if (block.given)
        tile.given = MatrixView<const double>(block.given + first * given_columns, rows, given_columns);
      fill(block, first, rows, tile);
      visit(static_cast<const Tile<Real>&>(tile));
    }
  }

 private:
  void fill(const StoredBlock& block, Index first, Index rows, Tile<Real>& tile) {
    const Index D = preparation_->standardisation.columns();
    if (!block.raw) {
      const Real* stored;
      if constexpr (std::is_same_v<Real, float>)
        stored = block.standardised_single;
      else
        stored = block.standardised;
      tile.x = MatrixView<const Real>(stored + first * D, rows, D);
      return;
    }
    values_.resize(static_cast<std::size_t>(rows_per_tile_ * D));
    const MatrixView<const double> raw(block.raw + first * D, rows, D);
    const MatrixView<Real> out(values_.data(), rows, D);
    standardise(raw, tile.weights, tile.missing, preparation_->standardisation.centre.data(), scale_.data(), out);
    tile.x = out;
    if (!preparation_->log_base_measure) return;
    offsets_.resize(static_cast<std::size_t>(rows_per_tile_));
    for (Index i = 0; i < rows; ++i)
      offsets_[static_cast<std::size_t>(i)] =
          tile.missing && tile.missing[i] ? 0 : preparation_->log_base_measure(raw.row(i));
    tile.offsets = offsets_.data();
  }

  const Preparation* preparation_;
  Index rows_per_tile_;
  std::vector<double> scale_, offsets_;
  std::vector<Real> values_;
};

}  // namespace tally
