#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "core/error.hpp"
#include "core/gpu_blocks.hpp"
#include "launch/cluster/job_plan.hpp"
#include "launch/cluster/this_host.hpp"
#include "launch/context.hpp"
#include "launch/fit_inputs.hpp"
#include "launch/placement_words.hpp"
#include "launch/sequence_inputs.hpp"

namespace tally {
namespace {

struct PlanWords {
  PlacementWords placement;
  bool json = false;
};

// The request that these words are, `fit` and what follows.
FitRequest parse_fit(std::span<const std::string> words, CommandContext& context) {
  if (words.empty() || words.front() != "fit")
    throw UsageError("plan needs the fit that is planned, after --: tally plan -- fit gmm data.h5:/x ...");
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
  if (!request) throw UsageError("plan needs a whole fit after --; see tally fit --help");
  return *request;
}

JobShape shape_of(const FitRequest& request, bool gpus, CommandContext& context) {
  const ModelEntry& entry = context.registry.find(request.model);
  const FitInputs inputs = open_fit_inputs(request, entry, context.io);
  const Index columns = inputs.rows->columns();
  JobShape job;
  job.blocks = plan_for(*inputs.model, inputs.sequences, inputs.rows->rows(),
                        gpus ? gpu_block_rows_for(columns) : block_rows_for(columns));
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
  options.candidates = request.restarts;
  job.model_bytes = inputs.model->bind(options)->memory_bytes();
  return job;
}

int print_plan(const PlanWords& words, std::span<const std::string> job, CommandContext& context) {
  if (context.communicator.size() > 1)
    throw UsageError("plan is run alone; describe the hosts of a job with `tally topology` and give it as --cluster");
  const FitRequest request = parse_fit(job, context);
  const Cluster cluster =
      words.placement.cluster.empty() ? Cluster{{describe_this_host()}} : read_cluster(words.placement.cluster);
  const PlacementRequest placement = words.placement.request(cluster, request.device, request.threads);
  const JobPlan plan = plan_job(cluster, place_ranks(cluster, placement), shape_of(request, placement.gpus, context));
  fmt::print("{}", words.json ? to_json(plan, cluster) + "\n" : to_table(plan, cluster));
  return 0;
}

}  // namespace

void add_plan_command(CLI::App& app, std::span<const std::string> job, const Choose& choose) {
  CLI::App* command = app.add_subcommand("plan", "Say where a fit's ranks would run and what each would read, without running it");
  command->footer("The fit comes after --, as it would be run: tally plan -n 4 -- fit gmm data.h5:/x -k 8 --out model.h5");
  const auto words = std::make_shared<PlanWords>();
  words->placement.add_to(*command);
  command->add_flag("--json", words->json, "Print the plan as JSON");
  command->callback([words, job, choose] {
    choose([words, job](CommandContext& context) { return print_plan(*words, job, context); });
  });
}

}  // namespace tally
