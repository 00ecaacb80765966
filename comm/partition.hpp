#pragma once
#include <algorithm>

#include "core/view.hpp"

namespace tally {

// The blocks first, first + 1, ..., last - 1.
struct BlockRange {
  Index first = 0;
  Index last = 0;

  constexpr Index count() const noexcept { return last - first; }
  friend constexpr bool operator==(const BlockRange&, const BlockRange&) = default;
};

// The blocks that a rank works on: contiguous, in rank order, two ranks differing by one block at most. With more
// ranks than blocks the last ranks have none.
constexpr BlockRange blocks_of_rank(Index block_count, int rank, int size) noexcept {
  const Index share = block_count / size;
  const Index ranks_with_one_more = block_count % size;
  const auto start_of = [=](Index r) { return share * r + std::min(r, ranks_with_one_more); };
  return {start_of(rank), start_of(rank + 1)};
}

}  // namespace tally
