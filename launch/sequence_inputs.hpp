#pragma once
#include <memory>
#include <string>

#include "algorithms/model.hpp"
#include "comm/partition.hpp"
#include "core/block_plan.hpp"
#include "core/rows.hpp"
#include "core/sequences.hpp"

namespace tally {

class IoExecutor;

// Sequences of the lengths in the data set `name`, FILE:/PATH: one column of whole numbers. Throws DataError: another
// shape, a length that is none, an empty sequence.
std::shared_ptr<const Sequences> read_lengths(IoExecutor& io, const std::string& name);
// The same of what `owner`, in words, holds end to end in so many rows. Throws DataError also where they sum to another
// number.
std::shared_ptr<const Sequences> read_lengths(IoExecutor& io, const std::string& name, Index rows,
                                              const std::string& owner);

// The rows of a model of sequences: of `name`, or one sequence where that is empty. Null where the model takes rows as
// independent. Throws as read_lengths does; UsageError where lengths are given to a model that takes none.
std::shared_ptr<const Sequences> sequences_for(const Model& model, IoExecutor& io, const std::string& name, Index rows,
                                               const std::string& owner);
// How many rows to draw from a model: as many as the lengths in `name` sum to where `rows` is 0 and there are any.
Index rows_to_draw(const Model& model, IoExecutor& io, const std::string& name, Index rows);
// How a model's rows are cut: independent ones into blocks of `block_rows`.
BlockPlan plan_for(const Model& model, const std::shared_ptr<const Sequences>& sequences, Index rows, Index block_rows);
// All of how sequences are cut that the bits of a fit depend on; empty where rows are independent.
std::string words_of_cut(const Model& model);
// What rows cost.
RowWork work_of(const Model& model);

// One weight a sequence, delivered to each of its steps.
class SequenceWeights final : public RowSource {
 public:
  // `weights` (sequences, 1). Throws DataError where they are not one for each sequence.
  SequenceWeights(std::unique_ptr<RowSource> weights, std::shared_ptr<const Sequences> sequences);

  Index rows() const noexcept override { return sequences_->rows(); }
  Index columns() const noexcept override { return 1; }
  bool fits_float() const noexcept override { return weights_->fits_float(); }
  void read(Index first, Index count, double* out) const override;
  std::string where(Index row) const override { return weights_->where(sequences_->sequence_of(row)); }
  std::string name() const override { return weights_->name(); }

 private:
  std::unique_ptr<RowSource> weights_;
  std::shared_ptr<const Sequences> sequences_;
};

}  // namespace tally
