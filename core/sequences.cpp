#include "core/sequences.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "core/error.hpp"

namespace tally {

Sequences Sequences::of_lengths(const std::vector<Index>& lengths) {
  Sequences sequences;
  sequences.starts_.reserve(lengths.size() + 1);
  for (const Index length : lengths) {
    if (length <= 0)
      throw DataError("sequence " + std::to_string(sequences.count()) +
                      (length == 0 ? " is empty" : " has a negative length") +
                      " (sequences are counted from 0)");
    if (length > std::numeric_limits<Index>::max() - sequences.rows())
      throw DataError("the sequences up to number " + std::to_string(sequences.count()) +
                      " (counted from 0) have more steps than can be counted");
    sequences.starts_.push_back(sequences.rows() + length);
  }
  return sequences;
}

Index Sequences::sequence_of(Index row) const {
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), row);
  return static_cast<Index>(after - starts_.begin()) - 1;
}

}  // namespace tally
