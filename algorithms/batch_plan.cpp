#include "algorithms/batch_plan.hpp"

#include <algorithm>
#include <utility>

#include "core/error.hpp"
#include "core/philox.hpp"
#include "core/random_streams.hpp"

namespace tally {

BatchPlan::BatchPlan(Index blocks, Index batch_blocks, Index held_out_blocks, std::uint64_t seed) : seed_(seed) {
  const Index left = blocks_left(blocks, held_out_blocks);
  const RandomKey key{seed, static_cast<std::uint32_t>(RandomStream::held_out)};
  for (Index i = 0; i < held_out_blocks; ++i) {
    const Index first = i * blocks / held_out_blocks, last = (i + 1) * blocks / held_out_blocks;
    held_out_.push_back(first + static_cast<Index>(below(key, static_cast<std::uint64_t>(i), 0,
                                                         static_cast<std::uint64_t>(last - first))));
  }
  for (Index block = 0; block < blocks; ++block)
    if (!std::binary_search(held_out_.begin(), held_out_.end(), block)) blocks_.push_back(block);
  runs_ = std::clamp<Index>(batch_blocks, 1, left);
  steps_per_epoch_ = left / runs_;
}

Index BatchPlan::blocks_left(Index blocks, Index held_out_blocks) {
  if (held_out_blocks >= blocks) throw UsageError("--held-out leaves no rows to fit: give it fewer, or 0");
  return blocks - held_out_blocks;
}

void BatchPlan::shuffle(Index epoch) {
  const RandomKey key{seed_, static_cast<std::uint32_t>(RandomStream::batches)};
  const RandomKey cuts{seed_, static_cast<std::uint32_t>(RandomStream::batch_cuts)};
  const auto from = static_cast<std::ptrdiff_t>(below(cuts, static_cast<std::uint64_t>(epoch), 0, blocks_.size()));
  shuffled_.assign(blocks_.begin() + from, blocks_.end());
  shuffled_.insert(shuffled_.end(), blocks_.begin(), blocks_.begin() + from);
  for (Index run = 0; run < runs_; ++run)
    for (Index i = first_of(run), last = first_of(run + 1); i < last; ++i) {
      const auto left = static_cast<std::uint64_t>(last - i);
      const Index other = i + static_cast<Index>(below(key, static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(epoch), left));
      std::swap(shuffled_[static_cast<std::size_t>(i)], shuffled_[static_cast<std::size_t>(other)]);
    }
  epoch_ = epoch;
}

std::vector<Index> BatchPlan::batch(Index step) {
  if (step / steps_per_epoch_ != epoch_) shuffle(step / steps_per_epoch_);
  std::vector<Index> chosen;
  for (Index run = 0; run < runs_; ++run)
    chosen.push_back(shuffled_[static_cast<std::size_t>(first_of(run) + step % steps_per_epoch_)]);
  std::ranges::sort(chosen);
  return chosen;
}

}  // namespace tally
