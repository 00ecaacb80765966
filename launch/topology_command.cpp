#include <fmt/format.h>

#include <CLI/App.hpp>
#include <cstddef>
#include <set>
#include <span>

#include "comm/agreement.hpp"
#include "launch/cluster/this_host.hpp"
#include "launch/context.hpp"

namespace tally {
namespace {

// The hosts of all ranks, each once. Collective.
int print_topology(CommandContext& context) {
  std::string mine;
  agree(context.communicator, [&] { mine = to_json({{describe_this_host()}}); });
  const auto all = context.communicator.gather(std::as_bytes(std::span(mine)));
  if (!context.is_root()) return 0;
  Cluster cluster;
  std::set<std::string> names;
  for (const auto& each : all) {
    const std::string text(reinterpret_cast<const char*>(each.data()), each.size());
    Node node = parse_cluster(text, "a rank").nodes.front();
    if (names.insert(node.name).second) cluster.nodes.push_back(std::move(node));
  }
  fmt::print("{}\n", to_json(cluster));
  return 0;
}

}  // namespace

void add_topology_command(CLI::App& app, const Choose& choose) {
  CLI::App* command = app.add_subcommand(
      "topology", "Describe the hosts of this job as JSON: cores, memory and GPUs, as `tally plan` reads them");
  command->footer("Under mpirun start one rank a host, unbound: mpirun -H a,b --map-by node --bind-to none tally topology");
  command->callback([choose] { choose(print_topology); });
}

}  // namespace tally
