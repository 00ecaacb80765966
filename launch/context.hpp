#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "algorithms/registry.hpp"
#include "comm/communicator.hpp"
#include "core/io_executor.hpp"

namespace CLI {
class App;
}

namespace tally {

inline constexpr int status_stopped_on_request = 6;

// What a subcommand works with.
struct CommandContext {
  Communicator& communicator;
  IoExecutor& io;
  const Registry& registry;
  std::string command_line;

  bool is_root() const noexcept { return communicator.rank() == 0; }
};

// A subcommand after its options were parsed: does the work, returns the exit status. Rank-local work happens inside
// `agree`; whatever else throws is thrown by every rank alike.
using Action = std::function<int(CommandContext&)>;

// Each declares its options on the app and gives, once they are parsed and it was chosen, its action to `chosen`.
using Choose = std::function<void(Action)>;
struct FitRequest;
using RunFit = std::function<int(const FitRequest&, CommandContext&)>;
// `run` gets what was asked for.
void add_fit_command(CLI::App& app, const Registry& registry, const Choose& choose, const RunFit& run);
void add_select_command(CLI::App& app, const Registry& registry, const Choose& choose);
// `job`: the words of the fit that is planned.
void add_partition_command(CLI::App& app, std::span<const std::string> job, const Choose& choose);
void add_preflight_command(CLI::App& app, std::span<const std::string> job, const Choose& choose);
void add_plan_command(CLI::App& app, std::span<const std::string> job, const Choose& choose);
void add_predict_command(CLI::App& app, const Choose& choose);
void add_decode_command(CLI::App& app, const Choose& choose);
void add_forecast_command(CLI::App& app, const Choose& choose);
void add_score_command(CLI::App& app, const Choose& choose);
void add_sample_command(CLI::App& app, const Choose& choose);
void add_info_command(CLI::App& app, const Choose& choose);
void add_convert_command(CLI::App& app, const Choose& choose);
void add_generate_command(CLI::App& app, const Choose& choose);
void add_devices_command(CLI::App& app, const Choose& choose);
void add_check_device_command(CLI::App& app, const Choose& choose);
// For a command that runs alone, before there are communicators or threads.
using ChooseAlone = std::function<void(std::function<int()>)>;
// `job`: the words of the command that the ranks run.
void add_launch_command(CLI::App& app, std::span<const std::string> job, const ChooseAlone& choose);
void add_topology_command(CLI::App& app, const Choose& choose);
void add_models_command(CLI::App& app, const Registry& registry, const Choose& choose);

}  // namespace tally
