#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/block.hpp"
#include "core/shard.hpp"

namespace tally {

// Rows whose component is known beforehand, a few of each.
struct KnownRows {
  std::vector<double> values;     // (count, D), the user's units
  std::vector<Index> components;  // (count), ascending
};

// Chooses them by seed and row number alone, on any lanes and ranks: each component has a few places, a row has one of
// them by a random number, and of the rows of a place that of the largest other random number stays.
class KnownRowSearch {
 public:
  // No component: nothing is looked for.
  KnownRowSearch(Index components, Index columns, std::uint64_t seed);

  // Labels are the block's `given` (rows, 1); what is no component is passed over, and so are missing rows and those of
  // weight 0.
  void look_at(const StoredBlock& block);
  void merge(const KnownRowSearch& other);
  // By place, what has its maximum over ranks where the row is that stays.
  const std::vector<std::int64_t>& keys() const noexcept { return keys_; }
  // By place, the bits of the row (D) where it was found here, else zeros: their sum over ranks is that of all.
  std::vector<std::int64_t> bits_of(std::span<const std::int64_t> best_keys) const;
  KnownRows rows_of(std::span<const std::int64_t> best_keys, std::span<const std::int64_t> bits) const;

 private:
  Index components_, columns_, places_each_;
  std::uint64_t seed_;
  std::vector<std::int64_t> keys_;  // (components, places of each); -1: no row
  std::vector<double> values_;      // (components, places of each, D)
};

}  // namespace tally
