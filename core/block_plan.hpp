#pragma once
#include <memory>
#include <vector>

#include "core/sequences.hpp"
#include "core/view.hpp"

namespace tally {

// A run of steps of one sequence inside a block.
struct Piece {
  Index first = 0;  // row within the block
  Index steps = 0;
  Index sequence = 0;
  Index first_step = 0;             // of the sequence
  bool begins = true, ends = true;  // its first or last step is the sequence's
  Index number = -1;  // among the pieces of all cut sequences, over all blocks; -1: a whole sequence
};

// How all rows are cut into blocks: the same on every rank. Cheap to copy.
class BlockPlan {
 public:
  // Blocks of `block_rows` independent rows; the last may have fewer.
  static BlockPlan uniform(Index rows, Index block_rows);
  // Sequences of at most `piece_steps` steps stay whole and are packed, in order, into blocks of at most `block_rows`
  // rows (one that is longer has a block to itself). A longer one begins a block of its own and is cut every
  // `piece_steps` steps, block_rows / piece_steps pieces, at least one, to a block; what follows it begins a new block.
  static BlockPlan of_sequences(std::shared_ptr<const Sequences> sequences, Index piece_steps,
                                Index block_rows);

  Index block_count() const noexcept { return block_count_; }
  Index total_rows() const noexcept { return total_rows_; }
  // Of a block, or of what would follow the last.
  Index first_row(Index block) const;
  Index rows_of(Index block) const { return first_row(block + 1) - first_row(block); }
  // No block has more rows.
  Index most_rows() const noexcept { return most_rows_; }
  Index block_of(Index row) const;

  // Null: rows are independent.
  const Sequences* sequences() const noexcept { return cuts_ ? cuts_->sequences.get() : nullptr; }
  // What a block holds of which sequences, in order; nothing where rows are independent.
  std::vector<Piece> pieces_of(Index block) const;
  // Of all sequences of more than `piece_steps` steps.
  Index cut_piece_count() const;
  // Rows of a block that belong to them.
  Index cut_rows_of(Index block) const;

 private:
  struct Cuts {
    std::shared_ptr<const Sequences> sequences;
    Index piece_steps = 0;
    std::vector<Index> first_rows;  // (blocks + 1)
    std::vector<Index> cut_pieces;  // (blocks + 1) of cut sequences, before each block
    void begin_block(Index row, Index cut_pieces_before);
  };

  Index total_rows_ = 0, most_rows_ = 0, block_count_ = 0;
  std::shared_ptr<const Cuts> cuts_;  // null: every block but the last has most_rows_ rows
};

}  // namespace tally
