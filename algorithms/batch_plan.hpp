#pragma once
#include <cstdint>
#include <vector>

#include "core/view.hpp"

namespace tally {

// Which blocks of rows each step of a stepwise fit takes, and which are held out of all. The blocks are cut into as many runs of
// neighbours as a batch has blocks, and a batch takes one of each, so that all ranks have about the same share of it. In an
// epoch no block comes twice, and fewer than a batch has do not come; the seed decides order and cuts, anew for each epoch, so
// that all come equally often. Nothing of it depends on the ranks.
class BatchPlan {
 public:
  // Throws UsageError where nothing is left besides the blocks held out.
  BatchPlan(Index blocks, Index batch_blocks, Index held_out_blocks, std::uint64_t seed);

  // How many are left to batches. Throws UsageError where none is.
  static Index blocks_left(Index blocks, Index held_out_blocks);

  const std::vector<Index>& held_out() const noexcept { return held_out_; }  // ascending
  // The blocks of step 0, 1, ..., ascending.
  std::vector<Index> batch(Index step);
  Index steps_per_epoch() const noexcept { return steps_per_epoch_; }

 private:
  Index first_of(Index run) const { return run * static_cast<Index>(blocks_.size()) / runs_; }
  // One after the other from a random one on, as if the last had the first as its neighbour, then each run by itself.
  void shuffle(Index epoch);

  std::uint64_t seed_;
  std::vector<Index> held_out_, blocks_, shuffled_;
  Index runs_, steps_per_epoch_, epoch_ = -1;
};

}  // namespace tally
