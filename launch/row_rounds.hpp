#pragma once
#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "comm/agreement.hpp"
#include "comm/communicator.hpp"
#include "comm/partition.hpp"
#include "core/view.hpp"

namespace tally {

// Results of rows that all ranks compute and rank 0 writes in row order, so many at a time that rank 0 can hold them.
struct RowRounds {
  Index rows = 0;
  Index block_rows = 1;  // ranks take whole blocks
  Index row_values = 1;  // results of one row
  Index memory = 0;      // bytes of results on rank 0 at a time; one block at least

  Index block_count() const { return (rows + block_rows - 1) / block_rows; }
  Index rows_in(BlockRange blocks) const {
    return std::max<Index>(0, std::min(blocks.last * block_rows, rows) - blocks.first * block_rows);
  }
};

inline constexpr Index default_round_memory = Index{128} << 20;

// compute(blocks, out) fills the results of this rank's blocks, (rows, row_values); it is collective and throws alike
// on every rank. write(results) runs on rank 0, for all rows in their order. Collective.
template <class T>
void write_in_row_order(Communicator& communicator, const RowRounds& rounds,
                        const std::function<void(BlockRange, std::span<T>)>& compute,
                        const std::function<void(std::span<const T>)>& write) {
  const Index block_bytes = rounds.block_rows * rounds.row_values * static_cast<Index>(sizeof(T));
  const Index step = std::max<Index>(1, rounds.memory / std::max<Index>(block_bytes, 1));
  std::vector<T> mine;
  for (Index first = 0; first < rounds.block_count(); first += step) {
    const Index count = std::min(step, rounds.block_count() - first);
    const BlockRange share = blocks_of_rank(count, communicator.rank(), communicator.size());
    const BlockRange blocks{first + share.first, first + share.last};
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
