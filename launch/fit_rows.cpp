#include "launch/fit_rows.hpp"

#include <fmt/format.h>

#include "comm/partition.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "launch/output.hpp"
#include "launch/resources.hpp"
#include "launch/sequence_inputs.hpp"

namespace tally {

void check_same_everywhere(const Hdf5Rows& rows, std::uint64_t asked, Communicator& communicator) {
  const auto half = static_cast<std::int64_t>(asked >> 1);
  std::vector<std::int64_t> extremes = {rows.rows(), -rows.rows(), rows.columns(), -rows.columns(), half, -half};
  communicator.sum_and_max({}, extremes);
  if (extremes[4] != -extremes[5])
    throw UsageError("the ranks were given different options; give all of them the same command line");
  if (extremes[0] != -extremes[1] || extremes[2] != -extremes[3])
    throw DataError(fmt::format("{} has {} to {} rows and {} to {} columns on different ranks; give every host the "
                                "same file",
                                rows.name(), -extremes[1], extremes[0], -extremes[3], extremes[2]));
}

std::unique_ptr<Shard> shard_of_rank(const FitRequest& request, const FitInputs& inputs, const Model& model,
                                     const DeviceChoice& device, CommandContext& context) {
  const Hdf5Rows& rows = *inputs.rows;
  const BlockPlan plan = plan_for(model, inputs.sequences, rows.rows(), device.block_rows(rows.columns()));
  const BlockRange range =
      blocks_of_rank(plan, context.communicator.rank(), context.communicator.size(), work_of(model));
  Shard::Options options;
  options.lanes = device.lanes(request.threads);
  options.memory_limit = request.memory > 0 ? request.memory : default_memory();
  options.precision = request.fit.precision;
  options.takes_missing = model.takes_missing();
  return std::make_unique<Shard>(context.io, Inputs{&rows, inputs.weights.get(), inputs.given.get()}, plan,
                                 ShardRange{range.first, range.last}, options);
}

std::string words_of_shard(const Shard& shard, int ranks) {
  const RowSource& rows = *shard.inputs().rows;
  return fmt::format("{}: {} rows, {} columns; {} {}, {} {} each, rows {}", rows.name(), rows.rows(), rows.columns(),
                     ranks, ranks == 1 ? "rank" : "ranks", shard.lanes(), shard.lanes() == 1 ? "thread" : "threads",
                     shard.resident() ? "in memory" : "streamed");
}

FitSource source_of_fit(const Scan& scan, const FitInputs& inputs, const CommandContext& context) {
  Hasher hasher;
  hasher.add(scan.content);
  hasher.add(scan.summary.rows);
  const Sequences* sequences = inputs.sequences.get();
  for (Index s = 0; sequences && s < sequences->count(); ++s) hasher.add(sequences->length(s));
  return {scan.summary.rows, scan.summary.total_weight, inputs.rows->name(), context.command_line, hex_text(hasher.value())};
}

ModelRecord record_of_fit(const Model& model, const Candidate& candidate, const std::string& status, Index free_parameters,
                          const FitRequest& request, const FitSource& source) {
  ModelRecord record;
  record.model = model.name();
  record.components = model.components();
  record.columns = model.columns();
  record.options = model.options();
  record.parameters = model.describe(candidate.parameters);
  record.standardisation = model.standardisation();
  record.objective_name = model.objective_name();
  record.trace = candidate.trace;
  record.status = status;
  record.iterations = candidate.m_steps;
  record.rows = source.rows;
  record.total_weight = source.total_weight;
  record.free_parameters = free_parameters;
  record.seed = request.seed;
  record.precision = name_of(request.fit.precision);
  record.data = source.data;
  record.fingerprint = source.fingerprint;
  record.cut = words_of_cut(model);
  record.command_line = source.command_line;
  return record;
}

}  // namespace tally
