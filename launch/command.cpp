#include "launch/command.hpp"

#include <mpi.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include "comm/agreement.hpp"
#include "comm/host_name.hpp"
#include "comm/mpi_communicator.hpp"
#include "comm/mpi_session.hpp"
#include "comm/single_process.hpp"
#include "core/blas.hpp"
#include "core/last_words.hpp"
#include "launch/bench/bench_command.hpp"
#include "launch/cluster/life_line.hpp"
#include "launch/cluster/mpi_support.hpp"
#include "launch/cluster/rank_environment.hpp"
#include "launch/cluster/slurm_step.hpp"
#include "launch/cluster/start_line.hpp"
#include "launch/cluster/topology.hpp"
#include "launch/context.hpp"
#include "launch/fit_job.hpp"
#include "launch/option_checks.hpp"
#include "launch/signals.hpp"

namespace tally {
namespace {

// The rank as MPI knows it, before there is a communicator; without MPI that of the task.
int world_rank(bool with_mpi) {
  int rank = task_of_slurm_step();
  if (with_mpi) MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

// Tasks of srun without MPI would each run the whole command.
void check_alone() {
  if (const int tasks = tasks_of_slurm_step(); tasks > 1)
    throw UsageError("srun started " + std::to_string(tasks) +
                     " tasks without MPI: give it --mpi=pmix (srun --mpi=list shows what there is); for as many separate runs "
                     "unset SLURM_STEP_NUM_TASKS");
}

// Whether MPI finds the ranks that were started with this one: those of another MPI's mpirun would each run the whole command.
bool finds_the_others() {
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size > 1 || ranks_started() <= 1;
}

// Where `tally launch` has placed this rank.
void bind_to_cores(int rank) {
  const char* const binding = std::getenv(binding_variable);
  if (!binding) return;
  const std::vector<int> cores = cores_of_rank(binding, rank);
  if (cores.empty()) return;
  const std::string refused = Topology().bind(cores);
  if (!refused.empty() && std::getenv(verbose_variable))
    std::fprintf(stderr, "tally: warning: rank %d on %s: its memory may lie anywhere: the system does not bind it (%s)\n", rank,
                 local_host_name().c_str(), refused.c_str());
}

void report(const std::string& message) { last_words("tally: error: " + message + "\n"); }

// Runs the chosen action and turns what it throws into an exit status. Errors that all ranks share are reported by
// rank 0; any other concerns this rank alone, which must end the job.
int execute(const Action& action, CommandContext& context, MpiSession* session) {
  try {
    int status = 0;
    replicate([&] { status = action(context); });
    return status;
  } catch (const AgreedFailure& failure) {
    const auto* error = dynamic_cast<const Error*>(&failure);
    if (context.is_root()) report(error->what());
    return static_cast<int>(error->kind());
  } catch (const RelayedFailure&) {
    // Another rank's error, which that rank reports and then ends the job; should it not come to that, this one does.
    std::this_thread::sleep_for(std::chrono::seconds(10));
    const int status = static_cast<int>(describe_failure(std::current_exception()).kind);
    if (session) session->abort(status);
    return status;
  } catch (...) {
    const Failure failure = describe_failure(std::current_exception());
    report(failure.message);
    const int status = static_cast<int>(failure.kind);
    if (session && context.communicator.size() > 1) session->abort(status);
    return status;
  }
}

// The words after "--": the command that `plan`, `partition`, `preflight` and `launch` are about.
std::vector<std::string> words_of_job(int argc, char** argv) {
  char** const separator = std::find(argv, argv + argc, std::string_view("--"));
  return separator == argv + argc ? std::vector<std::string>() : std::vector<std::string>(separator + 1, argv + argc);
}

// "tally fit WORD", "tally select WORD": the parser would only say that a subcommand is missing.
void check_model_word(int argc, char** argv, const Registry& registry) {
  for (int i = 1; i + 1 < argc; ++i)
    if ((argv[i] == std::string_view("fit") || argv[i] == std::string_view("select")) && argv[i + 1][0] != '-') {
      registry.find(argv[i + 1]);
      return;
    }
}

std::string join(int argc, char** argv) {
  std::string line;
  for (int i = 0; i < argc; ++i) line += (i ? " " : "") + std::string(argv[i]);
  return line;
}

// "tally launch -n 2 fit ...": what to write instead; empty where it is not that.
std::string with_separator(const CLI::App& app, int argc, char** argv) {
  if (std::find(argv, argv + argc, std::string_view("--")) != argv + argc) return "";
  const auto is_command = [&](const std::string& word) {
    return !app.get_subcommands([&](const CLI::App* command) { return command->get_name() == word; }).empty();
  };
  for (const char* about : {"launch", "plan", "partition", "preflight"})
    if (app.got_subcommand(about))
      for (int i = 1; i < argc; ++i)
        if (argv[i] != std::string_view(about) && is_command(argv[i]))
          return "tally" + join(i, argv).substr(std::strlen(argv[0])) + " -- " + argv[i] + " ...";
  return "";
}

// "tally fit --help": of the command that the words name.
std::string help_of(const CLI::App& app) {
  std::string line = app.get_name();
  for (const CLI::App* named = &app; !named->get_subcommands().empty();) {
    named = named->get_subcommands().front();
    line += " " + named->get_name();
  }
  return line + " --help";
}

// What the parser does not know, in the order of the words, which its own message does not keep.
std::string not_expected(const CLI::App& app) {
  std::string words;
  for (const std::string& word : app.remaining(true)) words += " " + word;
  return "not expected:" + words;
}

// Parses the words and runs what they name. `session`: null where there is no MPI.
int run_words(int argc, char** argv, const Registry& registry, MpiSession* session, bool root) {
  CLI::App app("Train mixtures, k-means and hidden Markov models on any number of ranks, with the same bits on all.", "tally");
  app.set_version_flag("--version", "tally " TALLY_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  double timeout = 60;
  app.add_option("--timeout", timeout, "Seconds without a sign of life after which a rank counts as lost")
      ->capture_default_str()
      ->check(number_from(0.2, 1e9));
  const std::vector<std::string> job = words_of_job(argc, argv);
  const int own_argc = argc - static_cast<int>(job.size());
  Action action;
  const Choose choose = [&](Action chosen) { action = std::move(chosen); };
  std::function<int()> alone;
  add_fit_command(app, registry, choose, run_fit);
  add_select_command(app, registry, choose);
  add_plan_command(app, job, choose);
  add_partition_command(app, job, choose);
  add_preflight_command(app, job, choose);
  add_predict_command(app, choose);
  add_decode_command(app, choose);
  add_forecast_command(app, choose);
  add_score_command(app, choose);
  add_sample_command(app, choose);
  add_info_command(app, choose);
  add_convert_command(app, choose);
  add_generate_command(app, choose);
  add_models_command(app, registry, choose);
  add_devices_command(app, choose);
  add_check_device_command(app, choose);
  add_topology_command(app, choose);
  const ChooseAlone choose_alone = [&](std::function<int()> chosen) { alone = std::move(chosen); };
  add_launch_command(app, job, choose_alone);
  add_bench_command(app, choose, choose_alone);
  try {
    check_model_word(own_argc, argv, registry);
    app.parse(own_argc, argv);
    if (std::isnan(timeout)) throw UsageError("--timeout must be a number of seconds");
    if (alone) return alone();
    if (!session) check_alone();
  } catch (const CLI::Success& success) {
    return root ? app.exit(success) : 0;
  } catch (const CLI::ExtrasError&) {
    const std::string line = with_separator(app, argc, argv);
    if (root) report((line.empty() ? not_expected(app) : "put -- before the command: " + line) + "; see " + help_of(app));
    return static_cast<int>(ErrorKind::usage);
  } catch (const CLI::ParseError& error) {
    const bool unknown = app.get_subcommands().empty() && !app.remaining().empty();
    if (root) report((unknown ? not_expected(app) : std::string(error.what())) + "; see " + help_of(app));
    return static_cast<int>(ErrorKind::usage);
  } catch (const Error& error) {
    if (root) report(error.what());
    return static_cast<int>(error.kind());
  }

  try {
    std::unique_ptr<Communicator> communicator;
    const std::chrono::milliseconds deadline(static_cast<std::int64_t>(timeout * 1000));
    if (session) {
      MpiCommunicatorOptions options;
      options.timeout = deadline;
      communicator = std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, options);
    } else {
      communicator = std::make_unique<SingleProcess>(deadline);
    }
    IoExecutor io;
    CommandContext context{*communicator, io, registry, join(argc, argv)};
    const SignalThread signals(communicator->rank() == 0);
    const int status = execute(action, context, session);
    communicator->barrier();
    if (root && std::fflush(stdout) != 0) {
      report("the results could not be written to standard output");
      return status == 0 ? static_cast<int>(ErrorKind::other) : status;
    }
    return status;
  } catch (const std::exception& error) {
    report(error.what());
    if (session) session->abort(static_cast<int>(ErrorKind::communication));
    return static_cast<int>(ErrorKind::communication);
  }
}

}  // namespace

int run_command(int argc, char** argv, const Registry& registry) {
  block_signals();  // before any thread starts, so that one thread alone takes them
  blas::use_one_thread();
  std::optional<MpiSession> session;
  std::optional<LifeLine> life_line;
  try {
    if (started_as_rank()) session.emplace();  // a lone process does without MPI
    if (session && !finds_the_others()) {
      if (number_of_rank() == 0)
        report(std::to_string(ranks_started()) + " ranks were started, and each finds itself alone: this Tally was built with " +
               parse_mpi_name(mpi_library_version()).words() + "; start it by that MPI's own mpirun, or by srun --mpi=pmix");
      return static_cast<int>(ErrorKind::usage);
    }
    const int rank = world_rank(session.has_value());
    bind_to_cores(rank);
    if (rank == 0) life_line.emplace();
  } catch (const Error& error) {
    report(error.what());
    if (session) session->abort(static_cast<int>(error.kind()));  // the others must not wait for this rank
    return static_cast<int>(error.kind());
  }
  const bool root = world_rank(session.has_value()) == 0;
  const int status = run_words(argc, argv, registry, session ? &*session : nullptr, root);
  if (life_line) life_line->ends_with(status);
  return status;
}

}  // namespace tally
