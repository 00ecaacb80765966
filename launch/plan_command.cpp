#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>

#include "core/error.hpp"
#include "launch/cluster/job_plan.hpp"
#include "launch/cluster/this_host.hpp"
#include "launch/context.hpp"
#include "launch/placement_words.hpp"
#include "launch/planned_fit.hpp"

namespace tally {
namespace {

struct PlanWords {
  PlacementWords placement;
  bool json = false;
};

int print_plan(const PlanWords& words, std::span<const std::string> job, CommandContext& context) {
  if (context.communicator.size() > 1)
    throw UsageError("plan is run alone; describe the hosts of a job with `tally topology` and give it as --cluster");
  const FitRequest request = parse_planned_fit("plan", job, context);
  const Cluster cluster =
      words.placement.cluster.empty() ? Cluster{{describe_this_host()}} : read_cluster(words.placement.cluster);
  const PlacementRequest placement = words.placement.request(cluster, request.device, request.threads);
  const FitInputs inputs = open_fit_inputs(request, context.registry.find(request.model), context.io);
  const JobPlan plan = plan_job(cluster, place_ranks(cluster, placement), shape_of(request, inputs, placement.gpus));
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
