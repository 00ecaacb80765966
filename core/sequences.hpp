#pragma once
#include <vector>

#include "core/view.hpp"

namespace tally {

// Where sequences lie that are laid end to end: sequence s has the rows first_row(s), ..., first_row(s) + length(s) - 1.
class Sequences {
 public:
  // All rows as one sequence.
  static Sequences one(Index rows) { return of_lengths({rows}); }
  // Throws DataError: names the first sequence without a row, of negative length, or by which there are 2^63 rows or more.
  static Sequences of_lengths(const std::vector<Index>& lengths);

  Index count() const noexcept { return static_cast<Index>(starts_.size()) - 1; }
  Index rows() const noexcept { return starts_.back(); }
  Index first_row(Index sequence) const { return starts_[static_cast<std::size_t>(sequence)]; }
  Index length(Index sequence) const { return first_row(sequence + 1) - first_row(sequence); }
  // The sequence that this row is a step of.
  Index sequence_of(Index row) const;

 private:
  std::vector<Index> starts_ = {0};  // (sequences + 1)
};

}  // namespace tally
