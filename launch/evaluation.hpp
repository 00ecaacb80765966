#pragma once
#include <memory>
#include <string>
#include <vector>

#include "comm/partition.hpp"
#include "core/block_plan.hpp"
#include "core/hdf5_rows.hpp"
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
  int threads = 0;      // 0: the processors of this rank
  std::string memory;
  std::string precision = "double";
  std::string device = "cpu";
};

// MODEL DATA... --threads --device --memory --precision.
void add_evaluation_options(CLI::App& command, EvaluationRequest& request);

// A fitted model on a data set, streamed: each row is read once, on the rank that computes it.
class Evaluation {
 public:
  // Throws DataError: unreadable files, another width than the model's, weights of another length. Collective.
  Evaluation(const EvaluationRequest& request, CommandContext& context);
  ~Evaluation();

  const LoadedModel& loaded() const noexcept { return loaded_; }
  const Hdf5Rows& rows() const noexcept { return *rows_; }
  bool weighted() const noexcept { return weights_ != nullptr; }
  // How results of so many values a row come to rank 0.
  RowRounds rounds(Index row_values) const;
  BlockRange blocks_of_this_rank() const;

  // Computes the rows of these blocks of this rank; `visit` runs on the lanes. Throws DataError that names the first
  // value the model cannot take (NaN, infinity, one outside its domain; a bad weight). Collective.
  void run(BlockRange blocks, BoundModel::Wanted wanted, const BoundModel::VisitRows& visit);

  // The weights of these rows, for a visit; 0 in place of bad ones, which `run` reports.
  void read_weights(Index first_row, Index count, std::vector<double>& out);

 private:
  class CheckedRows;
  void open(const EvaluationRequest& request);
  void check_shape() const;
  void report_first_fault() const;

  CommandContext& context_;
  DeviceChoice device_;
  int lanes_ = 1;
  Precision precision_ = Precision::double_precision;
  Index memory_ = default_round_memory;
  LoadedModel loaded_;
  std::unique_ptr<Hdf5Rows> rows_, weights_;
  BlockPlan plan_;
  std::unique_ptr<CheckedRows> checked_;
  std::unique_ptr<BoundModel> bound_;
};

}  // namespace tally
