#include "core/block_plan.hpp"

#include <algorithm>
#include <utility>

namespace tally {

BlockPlan BlockPlan::uniform(Index rows, Index block_rows) {
  BlockPlan plan;
  plan.total_rows_ = rows;
  plan.most_rows_ = block_rows;
  plan.block_count_ = (rows + block_rows - 1) / block_rows;
  return plan;
}

void BlockPlan::Cuts::begin_block(Index row, Index cut_pieces_before) {
  first_rows.push_back(row);
  cut_pieces.push_back(cut_pieces_before);
}

BlockPlan BlockPlan::of_sequences(std::shared_ptr<const Sequences> sequences, Index piece_steps,
                                  Index block_rows) {
  const auto cuts = std::make_shared<Cuts>();
  const Index longest_cut_block = std::max<Index>(1, block_rows / piece_steps) * piece_steps;
  Index cut_pieces = 0;
  bool open = false;  // the last block may take another sequence
  for (Index s = 0; s < sequences->count(); ++s) {
    const Index first = sequences->first_row(s), length = sequences->length(s);
    if (length > piece_steps) {
      for (Index step = 0; step < length; step += longest_cut_block)
        cuts->begin_block(first + step, cut_pieces + step / piece_steps);
      cut_pieces += (length + piece_steps - 1) / piece_steps;
      open = false;
      continue;
    }
    if (!open || first + length - cuts->first_rows.back() > block_rows) cuts->begin_block(first, cut_pieces);
    open = true;
  }
  BlockPlan plan;
  plan.total_rows_ = sequences->rows();
  plan.block_count_ = static_cast<Index>(cuts->first_rows.size());
  cuts->begin_block(plan.total_rows_, cut_pieces);
  cuts->sequences = std::move(sequences);
  cuts->piece_steps = piece_steps;
  plan.cuts_ = cuts;
  for (Index block = 0; block < plan.block_count_; ++block)
    plan.most_rows_ = std::max(plan.most_rows_, plan.rows_of(block));
  return plan;
}

Index BlockPlan::first_row(Index block) const {
  if (cuts_) return cuts_->first_rows[static_cast<std::size_t>(block)];
  return std::min(block * most_rows_, total_rows_);
}

Index BlockPlan::block_of(Index row) const {
  if (!cuts_) return row / most_rows_;
  const auto after = std::upper_bound(cuts_->first_rows.begin(), cuts_->first_rows.end(), row);
  return static_cast<Index>(after - cuts_->first_rows.begin()) - 1;
}

std::vector<Piece> BlockPlan::pieces_of(Index block) const {
  std::vector<Piece> pieces;
  if (!cuts_) return pieces;
  const Index begin = first_row(block), end = first_row(block + 1);
  Index number = cuts_->cut_pieces[static_cast<std::size_t>(block)];
  Index sequence = cuts_->sequences->sequence_of(begin);
  for (Index row = begin; row < end;) {
    const Index first_step = row - cuts_->sequences->first_row(sequence),
                length = cuts_->sequences->length(sequence);
    Piece piece;
    piece.first = row - begin;
    piece.steps = std::min(cuts_->piece_steps, length - first_step);
    piece.sequence = sequence;
    piece.first_step = first_step;
    piece.begins = first_step == 0;
    piece.ends = first_step + piece.steps == length;
    if (length > cuts_->piece_steps) piece.number = number++;
    pieces.push_back(piece);
    row += piece.steps;
    if (piece.ends) ++sequence;
  }
  return pieces;
}

Index BlockPlan::cut_piece_count() const {
  return cuts_ ? cuts_->cut_pieces.back() : 0;
}

Index BlockPlan::cut_rows_of(Index block) const {
  if (!cuts_) return 0;
  const auto at = static_cast<std::size_t>(block);
  return cuts_->cut_pieces[at] == cuts_->cut_pieces[at + 1] ? 0 : rows_of(block);
}

}  // namespace tally
