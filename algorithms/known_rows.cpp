#include "algorithms/known_rows.hpp"

#include <algorithm>
#include <bit>

#include "core/philox.hpp"
#include "core/random_streams.hpp"

namespace tally {
namespace {

constexpr Index most_places_each = 16, most_values = Index{1} << 20;
constexpr int row_bits = 46, random_number_bits = 63 - row_bits;

}  // namespace

KnownRowSearch::KnownRowSearch(Index components, Index columns, std::uint64_t seed)
    : components_(components),
      columns_(columns),
      places_each_(std::clamp<Index>(most_values / std::max<Index>(components * columns, 1), 1, most_places_each)),
      seed_(seed),
      keys_(static_cast<std::size_t>(components * places_each_), -1),
      values_(keys_.size() * static_cast<std::size_t>(columns)) {}

void KnownRowSearch::look_at(const StoredBlock& block) {
  if (components_ == 0) return;
  const RandomKey key{seed_, static_cast<std::uint32_t>(RandomStream::sample_rows)};
  for (Index i = 0; i < block.rows; ++i) {
    const double label = block.given[i];
    if (!(label >= 0 && label < static_cast<double>(components_))) continue;
    if ((block.missing && block.missing[i]) || (block.weights && block.weights[i] == 0)) continue;
    const auto row = static_cast<std::uint64_t>(block.first_row + i);
    const RandomBits random = random_bits(key, row, 1);
    const auto place = static_cast<std::size_t>(static_cast<Index>(label) * places_each_) +
                       static_cast<std::size_t>(random.first % static_cast<std::uint64_t>(places_each_));
    const auto found = static_cast<std::int64_t>((random.second >> (64 - random_number_bits)) << row_bits | row);
    if (found <= keys_[place]) continue;
    keys_[place] = found;
    std::copy_n(block.raw + i * columns_, columns_, values_.begin() + static_cast<Index>(place) * columns_);
  }
}

void KnownRowSearch::merge(const KnownRowSearch& other) {
  for (std::size_t place = 0; place < keys_.size(); ++place) {
    if (other.keys_[place] <= keys_[place]) continue;
    keys_[place] = other.keys_[place];
    const auto first = static_cast<Index>(place) * columns_;
    std::copy_n(other.values_.begin() + first, columns_, values_.begin() + first);
  }
}

std::vector<std::int64_t> KnownRowSearch::bits_of(std::span<const std::int64_t> best_keys) const {
  std::vector<std::int64_t> bits(values_.size(), 0);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    const std::size_t place = i / static_cast<std::size_t>(columns_);
    if (keys_[place] >= 0 && keys_[place] == best_keys[place]) bits[i] = std::bit_cast<std::int64_t>(values_[i]);
  }
  return bits;
}

KnownRows KnownRowSearch::rows_of(std::span<const std::int64_t> best_keys, std::span<const std::int64_t> bits) const {
  KnownRows rows;
  for (std::size_t place = 0; place < keys_.size(); ++place) {
    if (best_keys[place] < 0) continue;
    rows.components.push_back(static_cast<Index>(place) / places_each_);
    for (const std::int64_t value : bits.subspan(place * static_cast<std::size_t>(columns_), static_cast<std::size_t>(columns_)))
      rows.values.push_back(std::bit_cast<double>(value));
  }
  return rows;
}

}  // namespace tally
