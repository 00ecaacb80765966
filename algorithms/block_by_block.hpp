#pragma once
#include <span>

#include "algorithms/model.hpp"
#include "algorithms/tally.hpp"
#include "core/shard.hpp"

namespace tally {

// A bound model that takes blocks one by one, so that one reading of the rows serves several.
class BlockByBlock {
 public:
  virtual ~BlockByBlock() = default;
  // Before blocks are added or evaluated. `preparation` is for rows that come raw, and must outlive them.
  virtual void begin_rows(const Preparation& preparation) = 0;
  // These rows stay in memory and come in every pass: what is learnt of each may be remembered.
  virtual void remember_rows(Index first_row, Index rows) = 0;
  // Before blocks are added, to sums like this tally's.
  virtual void begin_sums(const Tally& tally) = 0;
  virtual void add(int lane, const StoredBlock& block, Index given_columns, std::span<const int> candidates,
                   PassKind kind) = 0;
  // Adds the lanes' sums.
  virtual void end_sums(Tally& tally) = 0;
  // Results of a block's rows under candidate 0.
  virtual void evaluate(int lane, const StoredBlock& block, BoundModel::Wanted wanted,
                        const BoundModel::VisitRows& visit) = 0;
};

}  // namespace tally
