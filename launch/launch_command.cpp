#include <fmt/format.h>

#include <CLI/App.hpp>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "core/error.hpp"
#include "launch/cluster/cpu_list.hpp"
#include "launch/cluster/rank_environment.hpp"
#include "launch/cluster/slurm_step.hpp"
#include "launch/context.hpp"
#include "launch/job_hosts.hpp"
#include "launch/job_words.hpp"
#include "launch/launch_lines.hpp"
#include "launch/option_checks.hpp"
#include "launch/placement_words.hpp"
#include "launch/restarts.hpp"

namespace tally {
namespace {

struct LaunchWords {
  PlacementWords placement;
  HostWords hosts;
  int max_restarts = 0;
  int silence = 90;
  bool preflight = false, dry_run = false, verbose = false;
};

// Whether this process is part of a job already: one rank of it would start the ranks once more.
bool is_part_of_a_job() { return started_as_rank() || tasks_of_slurm_step() > 1; }

class Launch {
 public:
  Launch(const LaunchWords& words, std::span<const std::string> job)
      : words_(words), job_(words.preflight ? preflight_of(job) : std::vector<std::string>(job.begin(), job.end())) {}

  int run() {
    check_words();
    block_signals_of_supervisor();
    try {
      HostWords hosts = words_.hosts;
      hosts.cluster = words_.placement.cluster;
      hosts.verbose = words_.verbose;
      hosts_.emplace(hosts);
      if (words_.dry_run) return print_only();
      return run_with_restarts();
    } catch (const Interrupted& interrupted) {
      return 128 + interrupted.signal;
    }
  }

 private:
  void check_words() const {
    if (job_.empty()) throw UsageError("launch needs the command that the ranks run, after --: tally launch -n 4 -- fit ...");
    if (is_part_of_a_job()) throw UsageError("launch starts the ranks itself: run it once, not under mpirun or srun");
    if (!words_.hosts.hosts.empty() && !words_.hosts.hostfile.empty()) throw UsageError("--hosts contradicts --hostfile");
    if (words_.max_restarts > 0 && value_of(job_, "--checkpoint").empty())
      throw UsageError("--max-restarts needs a command with --checkpoint: the folder to go on from");
  }

  int threads_of_job() const {
    const std::string threads = value_of(job_, "--threads");
    return threads.empty() ? 0 : std::atoi(threads.c_str());
  }

  void place() {
    PlacementRequest request = words_.placement.request(hosts_->cluster(), value_of(job_, "--device"), threads_of_job());
    try {
      placement_ = place_ranks(hosts_->cluster(), request);
    } catch (const UsageError&) {  // the hosts that are left have no room for as many
      if (ranks_left_ == 0) throw;
      request.ranks = ranks_left_;
      placement_ = place_ranks(hosts_->cluster(), request);
    }
    for (const std::string& warning : placement_.warnings) note("warning: " + warning);
  }

  std::vector<std::string> job_line(bool resuming) const {
    std::vector<std::string> line = {this_program()};
    line.insert(line.end(), job_.begin(), job_.end());
    if (resuming && !resumes(job_)) line.emplace_back("--resume");
    return line;
  }

  StartLine line_for(bool resuming, const std::string& life_line) const {
    StartRequest request = hosts_->request();
    std::erase(request.forwarded, std::string(life_line_variable));
    if (!life_line.empty()) request.forwarded.emplace_back(life_line_variable);
    if (words_.verbose) request.forwarded.emplace_back(verbose_variable);
    StartLine line = start_line(hosts_->cluster(), placement_, request, job_line(resuming));
    if (words_.verbose) line.environment[verbose_variable] = "1";
    if (!life_line.empty()) line.environment[life_line_variable] = life_line;
    return without_users_own(std::move(line));
  }

  int print_only() {
    place();
    for (std::size_t rank = 0; rank < placement_.ranks.size(); ++rank) {
      const RankPlace& place = placement_.ranks[rank];
      const Node& node = hosts_->cluster().nodes[static_cast<std::size_t>(place.node)];
      fmt::print("rank {:>4}  {:<16} cores {:<16} numa {}{}\n", rank, node.name,
                 place.cores.empty() ? "any" : format_cpu_list(place.cores), format_cpu_list(place.domains),
                 place.gpu < 0 ? "" : fmt::format("  gpu {}", node.gpus[static_cast<std::size_t>(place.gpu)].number));
    }
    print(line_for(false, ""), stdout);
    return 0;
  }

  int run_with_restarts() {
    Restarts restarts(words_.preflight ? 0 : words_.max_restarts, job_);
    for (;;) {
      place();
      const Ending ending = run_once(restarts.done() > 0);
      const int status = status_of(ending);
      if (!restarts.another_after(ending, status)) return status;
      if (const int left = hosts_->drop_lost(placement_); left > 0) ranks_left_ = left;
    }
  }

  Ending run_once(bool resuming) {
    Patience patience;
    patience.silence = std::chrono::seconds(words_.silence);
    LifeLineWatch watch(hosts_->request().local, patience.silence);
    const StartLine line = line_for(resuming, watch.where());
    if (words_.verbose) print(line, stderr);
    Ending ending = supervise(line, watch, patience);
    note_left(ending.left);
    return ending;
  }

  // Says why a command was killed.
  int status_of(const Ending& ending) const {
    const auto lost = static_cast<int>(ErrorKind::communication);
    if (!ending.killed_for.empty()) {
      note(fmt::format("killed {}: {}", hosts_->request().program, ending.killed_for));
      return ending.job_status.value_or(lost);
    }
    if (!hosts_->by_slurm() || ending.status != 0 || ending.heard) return ending.status;
    note("srun ended as though all were well, without a word of rank 0");
    return lost;
  }

  const LaunchWords& words_;
  const std::vector<std::string> job_;
  std::optional<JobHosts> hosts_;
  Placement placement_;
  int ranks_left_ = 0;  // that ran on the hosts that were not lost; 0: none was looked for
};

}  // namespace

void add_launch_command(CLI::App& app, std::span<const std::string> job, const ChooseAlone& choose) {
  CLI::App* command = app.add_subcommand("launch", "Start a command on the ranks of a cluster, each bound to its cores");
  command->footer(
      "The command comes after --: tally launch --hosts a,b -- fit gmm data.h5:/x -k 8 --out model.h5\n"
      "Without --hosts or --hostfile it takes the nodes of the Slurm allocation that it is in, or this host.");
  const auto words = std::make_shared<LaunchWords>();
  words->placement.add_to(*command);
  // As of a variable of the shell that is not set: not this host instead.
  const auto not_empty = [](const std::string& text) { return std::string(text.empty() ? "is empty" : ""); };
  command->add_option("--hosts", words->hosts.hosts, "Hosts to run on: a,b, or a:4,b:4 with the ranks each may take")
      ->check(not_empty);
  command->add_option("--hostfile", words->hosts.hostfile, "A file of them, a line each, as mpirun takes it")->check(not_empty);
  command->add_option("--mpirun", words->hosts.mpirun, "The mpirun to start them with (default: that of PATH)");
  command->add_option("--max-restarts", words->max_restarts,
                      "Restarts from the last checkpoint after a crash, on the hosts that are left")
      ->capture_default_str()
      ->check(whole_number_from(0));
  command->add_option("--silence", words->silence, "Seconds without a sign of life of rank 0 after which the job is killed")
      ->capture_default_str()
      ->check(whole_number_from(1));
  command->add_flag("--preflight", words->preflight,
                    "Start `tally preflight` where the ranks of the command would run, and name what is amiss");
  command->add_flag("--dry-run", words->dry_run, "Print where the ranks would run, and the command, and run nothing");
  command->add_flag("-v,--verbose", words->verbose, "Print the command and every variable that is set for it");
  command->callback([words, job, choose] { choose([words, job] { return Launch(*words, job).run(); }); });
}

}  // namespace tally
