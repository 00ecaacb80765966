#include "algorithms/chain_order.hpp"

#include <algorithm>
#include <utility>

namespace tally {
namespace {

std::vector<Index> blocks_where(const Shard& shard, bool cut) {
  std::vector<Index> blocks;
  for (Index local = 0; local < shard.block_count(); ++local)
    if ((shard.plan().cut_rows_of(shard.first_block() + local) > 0) == cut) blocks.push_back(local);
  return blocks;
}

}  // namespace

std::vector<Index> cut_blocks(const Shard& shard) { return blocks_where(shard, true); }

std::vector<Index> whole_blocks(const Shard& shard) { return blocks_where(shard, false); }

ChainOrder::ChainOrder(const BlockPlan& plan, std::vector<Index> cuts, ChainMessages& messages)
    : cuts_(std::move(cuts)), messages_(messages), turns_(2 * messages.candidate_count() * messages.piece_count()) {
  find_crossings(plan);
  values_.reserve(2 * crossings_.size() * static_cast<std::size_t>(messages.candidate_count() * messages.states()));
}

void ChainOrder::find_crossings(const BlockPlan& plan) {
  for (const Index block : cuts_) {
    const Piece piece = plan.pieces_of(block).front();
    if (piece.begins || piece.number < 0) continue;
    const bool goes_on = !crossings_.empty() && crossings_.back().sequence == piece.sequence;
    crossings_.push_back({block, piece.number, piece.sequence, goes_on ? crossings_.back().forward_round + 1 : 1, 1});
  }
  for (std::size_t i = crossings_.size(); i-- > 0;) {
    Crossing& crossing = crossings_[i];
    if (i + 1 < crossings_.size() && crossings_[i + 1].sequence == crossing.sequence)
      crossing.backward_round = crossings_[i + 1].backward_round + 1;
    rounds_ = std::max({rounds_, crossing.forward_round, crossing.backward_round});
  }
}

// The blocks of the run's shard, and those of them that depend on other ranks.
void ChainOrder::find_blocks() {
  blocks_ = cut_blocks(*shard_);
  leading_ = trailing_ = 0;
  const auto blocks_in = [&](Index sequence) {
    return std::ranges::count_if(blocks_, [&](Index local) {
      return shard_->plan().pieces_of(shard_->first_block() + local).front().sequence == sequence;
    });
  };
  for (const Crossing& crossing : crossings_) {
    if (crossing.block == shard_->first_block())
      leading_ = blocks_in(crossing.sequence);
    if (crossing.block == shard_->first_block() + shard_->block_count())
      trailing_ = blocks_in(crossing.sequence);
  }
}

Index ChainOrder::turn(Direction direction, int candidate, Index piece) const {
  const Index which = direction == Direction::forward ? 0 : 1;
  return (which * messages_.candidate_count() + candidate) * messages_.piece_count() + piece;
}

const double* ChainOrder::Step::message(int candidate, const Piece& piece) const {
  const bool forward = direction_ == Direction::forward;
  const double* const message =
      forward ? order_.messages_.incoming(candidate, piece) : order_.messages_.outgoing(candidate, piece);
  if (message)
    order_.turns_.wait_for(order_.turn(direction_, candidate, piece.number), [&] { return order_.shard_->stopping(); });
  return message;
}

std::span<double> ChainOrder::Step::next(int candidate, const Piece& piece) const {
  if (direction_ == Direction::forward)
    return piece.ends ? std::span<double>() : order_.messages_.incoming(candidate, piece.number + 1);
  return piece.begins ? std::span<double>() : order_.messages_.outgoing(candidate, piece.number - 1);
}

void ChainOrder::Step::hand_on(int candidate, const Piece& piece) const {
  const bool forward = direction_ == Direction::forward;
  if (forward ? piece.ends : piece.begins) return;
  order_.turns_.finish(order_.turn(direction_, candidate, forward ? piece.number + 1 : piece.number - 1));
}

void ChainOrder::visit(Direction direction, std::span<const Index> blocks, const Work& work, const Shard::Pulse& pulse) {
  std::vector<Index> ordered(blocks.begin(), blocks.end());
  if (direction == Direction::backward) std::reverse(ordered.begin(), ordered.end());
  const Step step(*this, direction);
  shard_->for_each_block(
      ordered, [&](int lane, const StoredBlock& block) { work(lane, block, step); }, pulse);
}

void ChainOrder::run(Shard& shard, MessageExchange& exchange, std::span<const int> candidates, const Work& forward,
                     const Work& backward, const Shard::Pulse& pulse) {
  shard_ = &shard;
  exchange_ = &exchange;
  candidates_ = candidates;
  turns_.restart();
  std::span<const Index> leading, trailing;
  exchange.locally([&] {
    find_blocks();
    const std::span<const Index> all(blocks_);
    leading = all.first(static_cast<std::size_t>(leading_));
    trailing = all.last(static_cast<std::size_t>(trailing_));
    if (forward) visit(Direction::forward, all.subspan(leading.size()), forward, pulse);
    if (backward) visit(Direction::backward, all.first(all.size() - trailing.size()), backward, pulse);
  });
  for (int round = 1; round <= rounds_; ++round) {
    cross(round, forward != nullptr, backward != nullptr);
    exchange.locally([&] {
      for (const Crossing& crossing : crossings_) {
        if (forward && crossing.forward_round == round && crossing.block == shard_->first_block())
          visit(Direction::forward, leading, forward, pulse);
        if (backward && crossing.backward_round == round && crossing.block == shard_->first_block() + shard_->block_count())
          visit(Direction::backward, trailing, backward, pulse);
      }
    });
  }
}

void ChainOrder::cross(int round, bool forward, bool backward) {
  values_.clear();
  const auto for_each_message = [&](const auto& visit_message) {
    for (const Crossing& crossing : crossings_)
      for (const int c : candidates_) {
        if (forward && crossing.forward_round == round)
          visit_message(messages_.incoming(c, crossing.piece), Direction::forward, c, crossing.piece,
                        crossing.block == shard_->first_block() + shard_->block_count());
        if (backward && crossing.backward_round == round)
          visit_message(messages_.outgoing(c, crossing.piece - 1), Direction::backward, c, crossing.piece - 1,
                        crossing.block == shard_->first_block());
      }
  };
  for_each_message([&](std::span<double> message, Direction, int, Index, bool mine) {
    if (mine)
      values_.insert(values_.end(), message.begin(), message.end());
    else
      values_.insert(values_.end(), message.size(), 0.0);
  });
  exchange_->share(values_);
  std::size_t at = 0;
  for_each_message([&](std::span<double> message, Direction direction, int c, Index piece, bool) {
    std::copy_n(values_.begin() + static_cast<std::ptrdiff_t>(at), message.size(), message.begin());
    at += message.size();
    turns_.finish(turn(direction, c, piece));
  });
}

}  // namespace tally
