#pragma once
#include <memory>
#include <string>
#include <vector>

#include "comm/partition.hpp"
#include "core/block_plan.hpp"
#include "core/hdf5_rows.hpp"
#include "core/sequences.hpp"
#include "core/shard.hpp"
#include "launch/context.hpp"
#include "launch/device_choice.hpp"
#include "launch/model_file.hpp"
#include "launch/row_rounds.hpp"

namespace tally {

// A model to run over data, as the command line says it.
struct EvaluationRequest {
  std::string model;
  std::vector<std::string> data;
  std::string weights;  // empty: none
  std::string lengths;  // of sequences; empty: one sequence
  int threads = 0;      // 0: the processors of this rank
  std::string memory;
  std::string precision = "double";
  std::string device = "cpu";
};

// MODEL DATA... --lengths --threads --device --memory --precision.
void add_evaluation_options(CLI::App& command, EvaluationRequest& request);

// Where rows are computed: on the device asked for, or on the CPU whatever that is.
enum class ComputeOn { device, cpu };

// A fitted model on a data set, streamed: each row is read once, on the rank that computes it.
class Evaluation {
 public:
  // Throws DataError: unreadable files, another width than the model's, weights or lengths that do not fit. Collective.
  Evaluation(const EvaluationRequest& request, CommandContext& context, ComputeOn where = ComputeOn::device);
  ~Evaluation();

  const LoadedModel& loaded() const noexcept { return loaded_; }
  const Hdf5Rows& rows() const noexcept { return *rows_; }
  // Null where rows are independent.
  const Sequences* sequences() const noexcept { return sequences_.get(); }
  bool weighted() const noexcept { return weights_ != nullptr; }
  // How results of so many values a row come to rank 0.
  RowRounds rounds(Index row_values) const;
  BlockRange blocks_of_this_rank() const;

  // Computes the rows of these blocks of this rank; `visit` runs on the lanes. Where sequences are cut, a pass before the
  // first brings to each piece what it must know of the others. Throws DataError that names the first value the model
  // cannot take (NaN, infinity, one outside its domain; a bad weight). Collective.
  void run(BlockRange blocks, BoundModel::Wanted wanted, const BoundModel::VisitRows& visit);

  // Throws DataError where the last run met a step of a sequence that no state explains. Collective.
  void refuse_impossible() const;

  // The likeliest path through every sequence, of the rows of blocks_of_this_rank(), and the log-probabilities of the
  // sequences that end there; the visits run on the lanes. ComputeOn::cpu alone does it. Throws as `run` does, and where a
  // sequence has no path at all. Collective.
  void decode(const BoundModel::VisitPath& visit_path, const BoundModel::VisitProbability& visit_probability);

  // The weights of these rows, for a visit; 0 in place of bad ones, which `run` reports.
  void read_weights(Index first_row, Index count, std::vector<double>& out);

 private:
  class CheckedRows;
  bool has_tiny_transitions() const;
  void open(const EvaluationRequest& request);
  void check_shape() const;
  void report_first_fault() const;
  std::unique_ptr<Shard> shard_of(BlockRange blocks);
  // Where one rank cannot make it, no rank goes on to wait for that one's messages. Collective.
  std::unique_ptr<Shard> shard_of_this_rank();
  void exchange_messages();

  CommandContext& context_;
  DeviceChoice device_;
  int lanes_ = 1;
  Precision precision_ = Precision::double_precision;
  Index memory_ = default_round_memory;
  LoadedModel loaded_;
  std::unique_ptr<Hdf5Rows> rows_;
  std::unique_ptr<RowSource> weights_;
  std::shared_ptr<const Sequences> sequences_;
  BlockPlan plan_;
  std::unique_ptr<CheckedRows> checked_;
  std::unique_ptr<BoundModel> bound_;
  bool messages_exchanged_ = false;
};

}  // namespace tally
