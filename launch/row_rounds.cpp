#include "launch/row_rounds.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

namespace tally {

BlockRange RowRounds::round_from(Index first, Index value_bytes) const {
  const Index most_rows = memory / std::max<Index>(row_values * value_bytes, 1);
  BlockRange round{first, first + 1};
  while (round.last < plan.block_count() && rows_in({first, round.last + 1}) <= most_rows) ++round.last;
  return round;
}

void for_each_block_in_parallel(int threads, BlockRange blocks, const std::function<void(Index block)>& f) {
  std::atomic<Index> next = blocks.first;
  std::mutex mutex;
  std::exception_ptr failure;
  {
    std::vector<std::jthread> workers;
    for (Index t = 0; t < std::min<Index>(threads, blocks.count()); ++t)
      workers.emplace_back([&] {
        try {
          for (Index block; (block = next.fetch_add(1)) < blocks.last;) f(block);
        } catch (...) {
          next = blocks.last;
          const std::lock_guard lock(mutex);
          if (!failure) failure = std::current_exception();
        }
      });
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace tally
