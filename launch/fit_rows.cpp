#include "launch/fit_rows.hpp"

#include <fmt/format.h>

#include "algorithms/em_stepwise.hpp"
#include "comm/partition.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "launch/output.hpp"
#include "launch/resources.hpp"
#include "launch/sequence_inputs.hpp"

namespace tally {

namespace {

// Of all that decides which collectives come and what travels in them.
std::uint64_t hash_of_request(const FitRequest& request, const std::string& options_hash) {
  Hasher hasher;
  hasher.add(std::string_view(options_hash));
  hasher.add(request.fit.max_iterations);
  hasher.add(request.fit.tolerance);
  hasher.add(static_cast<int>(request.fit.precision));
  hasher.add(static_cast<int>(request.fit.summation));
  hasher.add(request.checkpoint_every);
  hasher.add(std::string_view(request.device));
  for (const bool given : {request.checkpoint_folder.empty(), request.resume, request.weights.empty(),
                           request.lengths.empty(), request.labels.empty(), request.times_file.empty()})
    hasher.add(static_cast<int>(given));
  return hasher.value();
}

}  // namespace

std::string hash_of_options(std::span<const Model* const> models, const FitRequest& request, const InitWords& init) {
  Hasher hasher;
  for (const Model* model : models) {
    hasher.add(std::string_view(model->name()));
    for (const auto& [name, value] : model->options()) {
      hasher.add(std::string_view(name));
      hasher.add(std::string_view(value));
    }
    hasher.add(model->components());
  }
  hasher.add(std::string_view(init.way));
  hasher.add(std::string_view(init.place));
  hasher.add(request.restarts);
  hasher.add(request.seed);
  hasher.add(static_cast<int>(in_float(request.fit.precision)));  // single and tf32 go on from one another
  if (request.fit.on_degenerate != OnDegenerate::floor)
    hasher.add(std::string_view(to_string(request.fit.on_degenerate)));
  if (const auto& stepwise = request.fit.stepwise) {
    hasher.add(stepwise->rows);
    hasher.add(stepwise->step_decay);
    hasher.add(stepwise->held_out);
  }
  return hex_text(hasher.value());
}

void check_same_everywhere(const Hdf5Rows& rows, const FitRequest& request, const std::string& options_hash,
                           Communicator& communicator) {
  const auto half = static_cast<std::int64_t>(hash_of_request(request, options_hash) >> 1);
  std::vector<std::int64_t> extremes = {rows.rows(), -rows.rows(), rows.columns(), -rows.columns(), half, -half};
  communicator.sum_and_max({}, extremes);
  if (extremes[4] != -extremes[5])
    throw UsageError("the ranks were given different options; give all of them the same command line");
  if (extremes[0] != -extremes[1] || extremes[2] != -extremes[3])
    throw DataError(fmt::format("{} has {} to {} rows and {} to {} columns on different ranks; give every host the "
                                "same file",
                                rows.name(), -extremes[1], extremes[0], -extremes[3], extremes[2]));
}

Index block_rows_of_fit(const FitRequest& request, Index usual) {
  return request.fit.stepwise ? batch_block_rows(*request.fit.stepwise, usual) : usual;
}

std::unique_ptr<Shard> shard_of_rank(const FitRequest& request, const FitInputs& inputs, const Model& model,
                                     const DeviceChoice& device, CommandContext& context) {
  const Hdf5Rows& rows = *inputs.rows;
  const BlockPlan plan =
      plan_for(model, inputs.sequences, rows.rows(), block_rows_of_fit(request, device.block_rows(rows.columns())));
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

std::string words_of_batches(const Stepwise& stepwise, const BlockPlan& plan) {
  const BatchSizes sizes = batch_sizes(stepwise, plan);
  const std::string batches = fmt::format("batches of {} {} of {} rows", sizes.batch, sizes.batch == 1 ? "block" : "blocks", plan.most_rows());
  if (sizes.held_out == 0) return batches + "; none is held out, so that --max-iter alone ends the fit";
  return fmt::format("{}; {} {} held out", batches, sizes.held_out, sizes.held_out == 1 ? "is" : "are");
}

std::string words_of_missing(const DataSummary& summary) {
  double observed = 0;
  for (const double weight : summary.observed_weight) observed += weight / summary.total_weight;
  return fmt::format("{:.3g} % of the values are missing", 100 * (1 - observed / static_cast<double>(summary.columns)));
}

std::unique_ptr<Model> adapt_to_data(const ModelEntry& entry, const Model& model, OptionValues options,
                                     const DataSummary& summary) {
  for (const auto& [name, value] : model.options_from(summary)) options[name] = value;
  auto adapted = entry.make(model.components(), model.columns(), options);
  adapted->set_standardisation(standardise_for(adapted->scaling(), summary));
  return adapted;
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
  if (request.fit.stepwise) {
    record.batch_rows = request.fit.stepwise->rows;
    record.step_decay = request.fit.stepwise->step_decay;
    record.held_out = candidate.held_out;
  }
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
