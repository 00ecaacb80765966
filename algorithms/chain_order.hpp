#pragma once
#include <functional>
#include <span>
#include <vector>

#include "algorithms/chain_messages.hpp"
#include "algorithms/message_exchange.hpp"
#include "core/shard.hpp"
#include "core/turns.hpp"

namespace tally {

enum class Direction { forward, backward };

// Hands messages along cut sequences from piece to piece, in order: within a rank as its lanes get there, between ranks
// in rounds, the i-th of which takes every sequence across the i-th rank boundary on its way.
class ChainOrder {
 public:
  // Has all the memory that exchanges take. `cuts`: the blocks at which another rank's begin. `messages` must outlive this.
  ChainOrder(const BlockPlan& plan, std::vector<Index> cuts, ChainMessages& messages);

  const std::vector<Index>& cuts() const noexcept { return cuts_; }

  // Work on one block in one direction: asks for the message of each of its pieces (incoming, or outgoing where
  // backward), which may wait, and hands on what follows from it. Everything that needs no message comes before.
  class Step {
   public:
    Step(ChainOrder& order, Direction direction) : order_(order), direction_(direction) {}
    // Null where the sequence begins, or ends, with the piece.
    const double* message(int candidate, const Piece& piece) const;
    // Where what the next piece (or the one before it) will ask for goes; empty where there is none.
    std::span<double> next(int candidate, const Piece& piece) const;
    void hand_on(int candidate, const Piece& piece) const;

   private:
    ChainOrder& order_;
    Direction direction_;
  };
  using Work = std::function<void(int lane, const StoredBlock& block, const Step& step)>;

  // Visits every block of cut sequences of the shard once in each direction that there is work for. Collective.
  void run(Shard& shard, MessageExchange& exchange, std::span<const int> candidates, const Work& forward,
           const Work& backward, const Shard::Pulse& pulse);

 private:
  // A piece that another rank hands its message to, or gets it from: that before `piece`.
  struct Crossing {
    Index block, piece, sequence;
    int forward_round, backward_round;
  };
  void find_crossings(const BlockPlan& plan);
  void find_blocks();
  void visit(Direction direction, std::span<const Index> blocks, const Work& work, const Shard::Pulse& pulse);
  void cross(int round, bool forward, bool backward);
  Index turn(Direction direction, int candidate, Index piece) const;

  std::vector<Index> cuts_;
  ChainMessages& messages_;
  Shard* shard_ = nullptr;  // of the run, as what follows
  MessageExchange* exchange_ = nullptr;
  std::span<const int> candidates_;
  std::vector<Index> blocks_;  // of cut sequences, numbered from the shard's first
  Index leading_ = 0;          // so many of them at the front go on from the rank before,
  Index trailing_ = 0;         // and so many at the end go on to the next
  std::vector<Crossing> crossings_;
  int rounds_ = 0;
  Turns turns_;
  std::vector<double> values_;  // of a crossing
};

// The shard's blocks of cut sequences, and all others, numbered from its first.
std::vector<Index> cut_blocks(const Shard& shard);
std::vector<Index> whole_blocks(const Shard& shard);

}  // namespace tally
