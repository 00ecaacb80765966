#pragma once
#include <algorithm>

#include "core/block_plan.hpp"
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

// What a row costs, in any unit: one of a sequence that is whole, and one of a sequence that is cut.
struct RowWork {
  Index whole = 1;
  Index cut = 1;
};

// A rank's part of these blocks: contiguous, in rank order. Independent rows are shared out by blocks, as above;
// sequences so that the most work of any rank is as little as contiguous parts allow, and the last ranks may have none.
BlockRange blocks_of_rank(const BlockPlan& plan, BlockRange among, int rank, int size, RowWork work = {});
// Of all blocks.
BlockRange blocks_of_rank(const BlockPlan& plan, int rank, int size, RowWork work = {});

}  // namespace tally
