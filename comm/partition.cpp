#include "comm/partition.hpp"

#include <vector>

namespace tally {
namespace {

// The work of each block's predecessors; one number more than there are blocks.
std::vector<Index> work_before(const BlockPlan& plan, BlockRange among, RowWork work) {
  std::vector<Index> before = {0};
  for (Index block = among.first; block < among.last; ++block) {
    const Index cut = plan.cut_rows_of(block);
    before.push_back(before.back() + (plan.rows_of(block) - cut) * work.whole + cut * work.cut);
  }
  return before;
}

// Where a rank ends that begins at `first` and takes all it can without more work than `limit`.
Index end_of_share(const std::vector<Index>& before, Index first, Index limit) {
  const auto after = std::upper_bound(before.begin(), before.end(), before[static_cast<std::size_t>(first)] + limit);
  return static_cast<Index>(after - before.begin()) - 1;
}

bool is_enough(const std::vector<Index>& before, int size, Index limit) {
  Index end = 0;
  for (int rank = 0; rank < size; ++rank) end = end_of_share(before, end, limit);
  return end + 1 == static_cast<Index>(before.size());
}

// The least limit under which so many ranks do all the work.
Index least_limit(const std::vector<Index>& before, int size) {
  Index too_little = -1, enough = before.back();
  while (enough - too_little > 1) {
    const Index middle = too_little + (enough - too_little) / 2;
    (is_enough(before, size, middle) ? enough : too_little) = middle;
  }
  return enough;
}

}  // namespace

BlockRange blocks_of_rank(const BlockPlan& plan, BlockRange among, int rank, int size, RowWork work) {
  BlockRange share;
  if (plan.sequences()) {
    const std::vector<Index> before = work_before(plan, among, work);
    const Index limit = least_limit(before, size);
    for (int r = 0; r <= rank; ++r) share = {share.last, end_of_share(before, share.last, limit)};
  } else {
    share = blocks_of_rank(among.count(), rank, size);
  }
  return {among.first + share.first, among.first + share.last};
}

BlockRange blocks_of_rank(const BlockPlan& plan, int rank, int size, RowWork work) {
  return blocks_of_rank(plan, {0, plan.block_count()}, rank, size, work);
}

}  // namespace tally
