#include "launch/planned_fit.hpp"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>
#include <optional>

#include "algorithms/chain_memory.hpp"
#include "core/error.hpp"
#include "core/gpu_blocks.hpp"
#include "launch/context.hpp"
#include "launch/fit_rows.hpp"
#include "launch/sequence_inputs.hpp"

namespace tally {

FitRequest parse_planned_fit(const char* command, std::span<const std::string> words, CommandContext& context) {
  if (words.empty() || words.front() != "fit")
    throw UsageError(fmt::format("{0} needs the fit that is planned, after --: tally {0} -- fit gmm data.h5:/x ...", command));
  std::optional<FitRequest> request;
  Action action;
  CLI::App app("", "tally");
  add_fit_command(
      app, context.registry, [&](Action chosen) { action = std::move(chosen); },
      [&](const FitRequest& parsed, CommandContext&) {
        request = parsed;
        return 0;
      });
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));  // CLI11 takes them from the end
  } catch (const CLI::Success&) {
    throw UsageError("what follows -- is a whole fit; see tally fit --help");
  } catch (const CLI::ParseError& error) {
    throw UsageError(std::string(error.what()) + "; see tally fit --help");
  }
  if (action) action(context);
  if (!request) throw UsageError(fmt::format("{} needs a whole fit after --; see tally fit --help", command));
  return *request;
}

JobShape shape_of(const FitRequest& request, const FitInputs& inputs, bool gpus) {
  const Index columns = inputs.rows->columns();
  JobShape job;
  job.blocks = plan_for(*inputs.model, inputs.sequences, inputs.rows->rows(),
                        block_rows_of_fit(request, gpus && !request.fit.stepwise ? gpu_block_rows_for(columns) : block_rows_for(columns)));
  job.work = work_of(*inputs.model);
  job.stored = inputs.rows->parts();
  job.columns = columns;
  job.weights = inputs.weights != nullptr;
  job.given_columns = inputs.given ? inputs.given->columns() : 0;
  job.shard.memory_limit = request.memory;
  job.shard.precision = request.fit.precision;
  job.shard.takes_missing = inputs.model->takes_missing();
  BindOptions options;
  options.precision = request.fit.precision;
  options.candidates = request.fit.stepwise ? 2 * request.restarts : request.restarts;
  const std::unique_ptr<BoundModel> bound = inputs.model->bind(options);
  job.model_bytes = bound->memory_bytes();
  if (!gpus) job.remembered_bytes = bound->remembered_bytes();
  if (!gpus) {
    const ChainMemory chain = chain_memory(*inputs.model, job.blocks, options);
    job.model_bytes += chain.of_lane;
    job.message_bytes = chain.of_rank;
  }
  return job;
}

}  // namespace tally
