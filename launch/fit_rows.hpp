#pragma once
#include <memory>
#include <span>
#include <string>

#include "algorithms/em_scan.hpp"
#include "core/shard.hpp"
#include "launch/context.hpp"
#include "launch/device_choice.hpp"
#include "launch/fit_inputs.hpp"
#include "launch/model_file.hpp"

namespace tally {

// A hash of what must not change between a checkpoint and the fit that goes on from it: models, starts, seed and precision.
std::string hash_of_options(std::span<const Model* const> models, const FitRequest& request, const InitWords& init);

// Ranks that see different files (a stale copy on one host), or were asked for different fits, must not go on. Throws alike
// on every rank. Collective.
void check_same_everywhere(const Hdf5Rows& rows, const FitRequest& request, const std::string& options_hash,
                           Communicator& communicator);

// Rows of a block, where a fit that is not in steps has so many.
Index block_rows_of_fit(const FitRequest& request, Index usual);

// This rank's share of the rows that a fit reads, in blocks that suit the model and the device.
std::unique_ptr<Shard> shard_of_rank(const FitRequest& request, const FitInputs& inputs, const Model& model,
                                     const DeviceChoice& device, CommandContext& context);

// A line about it for people.
std::string words_of_shard(const Shard& shard, int ranks);

// A line about the batches of a stepwise fit. Throws UsageError where no rows are left for them.
std::string words_of_batches(const Stepwise& stepwise, const BlockPlan& plan);

// How much of the rows is missing, where values may be.
std::string words_of_missing(const DataSummary& summary);

// The model again, with the options and the standardisation that the data decide. `options`: the user's.
std::unique_ptr<Model> adapt_to_data(const ModelEntry& entry, const Model& model, OptionValues options,
                                     const DataSummary& summary);

// What stands in a model file besides the parameters, where a fit of this data ends.
struct FitSource {
  Index rows = 0;
  double total_weight = 0;
  std::string data, command_line;
  std::string fingerprint;  // of all that the fit reads row by row, and of how the rows are cut into sequences
};
FitSource source_of_fit(const Scan& scan, const FitInputs& inputs, const CommandContext& context);
ModelRecord record_of_fit(const Model& model, const Candidate& candidate, const std::string& status, Index free_parameters,
                          const FitRequest& request, const FitSource& source);

}  // namespace tally
