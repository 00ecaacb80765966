#pragma once
#include <functional>
#include <span>
#include <vector>

#include "comm/agreement.hpp"
#include "comm/communicator.hpp"
#include "comm/partition.hpp"
#include "core/block_plan.hpp"
#include "core/view.hpp"

namespace tally {

// Results of rows that all ranks compute and rank 0 writes in row order, so many at a time that rank 0 can hold them.
struct RowRounds {
  BlockPlan plan;        // ranks take whole blocks
  Index row_values = 1;  // results of one row
  Index memory = 0;      // bytes of results on rank 0 at a time; one block at least

  Index rows_in(BlockRange blocks) const { return plan.first_row(blocks.last) - plan.first_row(blocks.first); }
  // The blocks of the round that begins with block `first`, where a value has so many bytes.
  BlockRange round_from(Index first, Index value_bytes) const;
};

inline constexpr Index default_round_memory = Index{128} << 20;

// compute(blocks, out) fills the results of this rank's blocks, (rows, row_values); it is collective and throws alike
// on every rank. write(results) runs on rank 0, for all rows in their order. Collective.
template <class T>
void write_in_row_order(Communicator& communicator, const RowRounds& rounds,
                        const std::function<void(BlockRange, std::span<T>)>& compute,
                        const std::function<void(std::span<const T>)>& write) {
  std::vector<T> mine;
  BlockRange round;
  for (Index first = 0; first < rounds.plan.block_count(); first = round.last) {
    round = rounds.round_from(first, sizeof(T));
    const BlockRange blocks = blocks_of_rank(rounds.plan, round, communicator.rank(), communicator.size());
    mine.resize(static_cast<std::size_t>(rounds.rows_in(blocks) * rounds.row_values));
    compute(blocks, std::span(mine));
    if (communicator.size() == 1) {
      agree(communicator, [&] { write(mine); });
      continue;
    }
    const auto pieces = communicator.gather(std::as_bytes(std::span(mine)));
    agree(communicator, [&] {
      for (const auto& piece : pieces) {
        write({reinterpret_cast<const T*>(piece.data()), piece.size() / sizeof(T)});
        communicator.pulse();
      }
    });
  }
}

// Calls f(block) for each block, on so many threads; the first exception stops the rest and is thrown here.
void for_each_block_in_parallel(int threads, BlockRange blocks, const std::function<void(Index block)>& f);

}  // namespace tally
