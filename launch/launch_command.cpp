#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <memory>
#include <set>
#include <utility>

#include "comm/mpi_session.hpp"
#include "core/error.hpp"
#include "core/io_executor.hpp"
#include "launch/checkpoint.hpp"
#include "launch/cluster/cpu_list.hpp"
#include "launch/cluster/hosts.hpp"
#include "launch/cluster/mpi_support.hpp"
#include "launch/cluster/rank_environment.hpp"
#include "launch/cluster/slurm_allocation.hpp"
#include "launch/cluster/slurm_step.hpp"
#include "launch/cluster/start_line.hpp"
#include "launch/cluster/supervisor.hpp"
#include "launch/cluster/this_host.hpp"
#include "launch/context.hpp"
#include "launch/option_checks.hpp"
#include "launch/placement_words.hpp"

extern char** environ;

namespace tally {
namespace {

constexpr std::chrono::seconds patience_for_words(20);

struct LaunchWords {
  PlacementWords placement;
  std::string hosts, hostfile, mpirun;
  int max_restarts = 0;
  int silence = 90;
  bool preflight = false, dry_run = false, verbose = false;
};

// The value of an option among the words of a job; empty where it is not there.
std::string value_of(std::span<const std::string> job, const std::string& option) {
  for (std::size_t i = 0; i < job.size(); ++i) {
    if (job[i] == option && i + 1 < job.size()) return job[i + 1];
    if (job[i].starts_with(option + "=")) return job[i].substr(option.size() + 1);
  }
  return "";
}

// What looks at the ranks of a job in its place.
std::vector<std::string> preflight_of(std::span<const std::string> job) {
  std::size_t own = 0;  // words before the name of the command
  while (own < job.size() && job[own].starts_with("--timeout")) own += job[own] == "--timeout" ? 2 : 1;
  own = std::min(own, job.size());
  std::vector<std::string> words(job.begin(), job.begin() + static_cast<std::ptrdiff_t>(own));
  words.emplace_back("preflight");
  job = job.subspan(own);
  if (!job.empty() && job.front() == "fit") {
    words.emplace_back("--");
    words.insert(words.end(), job.begin(), job.end());
    return words;
  }
  const auto options = std::find_if(job.begin(), job.end(), [](const std::string& word) { return word.starts_with("-"); });
  std::copy_if(job.begin(), options, std::back_inserter(words),
               [](const std::string& word) { return word.find(":/") != std::string::npos; });
  for (const char* option : {"--threads", "--device"})
    if (const std::string value = value_of(job, option); !value.empty()) words.insert(words.end(), {option, value});
  return words;
}

// Variables of ours and of the libraries that the ranks need, which mpirun does not pass on by itself.
std::vector<std::string> variables_to_forward() {
  static const std::set<std::string> names = {"PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"};
  std::vector<std::string> found;
  for (char** each = environ; *each; ++each) {
    const std::string entry(*each), name = entry.substr(0, entry.find('='));
    const auto begins = [&](const char* prefix) { return name.starts_with(prefix); };
    if (names.contains(name) || begins("TALLY_") || begins("NCCL_") || begins("HDF5_") || begins("OPENBLAS_") || begins("UCX_") ||
        begins("FI_"))
      found.push_back(name);
  }
  std::sort(found.begin(), found.end());
  return found;
}

// What can be sent to every host alike: this very program, by the name that it had at first.
std::string this_program() {
  static const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  return program;
}

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
      find_hosts();
      find_starter();
      read_nodes();
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
    if (!words_.hosts.empty() && !words_.hostfile.empty()) throw UsageError("--hosts contradicts --hostfile");
    if (words_.max_restarts > 0 && value_of(job_, "--checkpoint").empty())
      throw UsageError("--max-restarts needs a command with --checkpoint: the folder to go on from");
  }

  void find_hosts() {
    if (!words_.hosts.empty()) hosts_ = parse_hosts(words_.hosts);
    else if (!words_.hostfile.empty()) hosts_ = parse_hostfile(read_text(words_.hostfile));
    const char* const nodes = std::getenv("SLURM_JOB_NODELIST");
    if (!nodes) return;
    // In the order of the allocation, in which srun numbers the ranks.
    std::vector<Host> allocated = parse_slurm_nodes(nodes);
    std::erase_if(allocated, [&](Host& node) {
      const auto chosen = std::find_if(hosts_.begin(), hosts_.end(), [&](const Host& host) { return host.name == node.name; });
      if (chosen != hosts_.end()) node.slots = chosen->slots;
      return !hosts_.empty() && chosen == hosts_.end();
    });
    if (!hosts_.empty() && allocated.size() < hosts_.size()) return;  // other hosts: Slurm cannot reach them
    hosts_ = std::move(allocated);
    by_slurm_ = words_.mpirun.empty();
  }

  void find_starter() {
    request_.local = hosts_.empty();
    request_.as_root = geteuid() == 0;
    request_.forwarded = variables_to_forward();
    request_.program = by_slurm_ ? "srun" : words_.mpirun.empty() ? "mpirun" : words_.mpirun;
    by_slurm_ ? check_srun() : check_mpirun();
  }

  void check_srun() {
    request_.starter = Starter::slurm;
    const std::vector<std::string> plugins = parse_srun_plugins(said_by("srun --mpi=list 2>&1"));
    if (!plugins.empty() && std::none_of(plugins.begin(), plugins.end(), [](const auto& name) { return name.starts_with("pmix"); }))
      throw UsageError(fmt::format("srun starts no ranks of MPI by pmix here, only by {}: --mpirun mpirun does without srun",
                                   fmt::join(plugins, ", ")));
  }

  void check_mpirun() {
    StartLine asking;
    asking.words = {request_.program, "--version"};
    const Output answer = uninterrupted(asking, patience_for_words);
    if (!answer.in_time)
      throw CommunicationError(fmt::format("{} did not end within {} s", quoted(asking.words), patience_for_words.count()));
    const std::string& version = answer.text;
    const MpiName mpirun = parse_mpi_name(version), library = parse_mpi_name(mpi_library_version());
    if (mpirun.family == MpiName::Family::unknown)
      throw UsageError(request_.program + " is neither Open MPI's nor MPICH's mpirun: --version says '" +
                       version.substr(0, version.find('\n')) + "'");
    if (const std::string why = why_not_started_by(mpirun, library); !why.empty())
      throw UsageError(request_.program + " is the wrong one: " + why + "; --mpirun names another");
    if (const std::string doubts = doubts_about(mpirun, library); !doubts.empty())
      note("warning: " + request_.program + " may be the wrong one: " + doubts);
    if (mpirun.family == MpiName::Family::mpich) request_.starter = Starter::mpich;
  }

  // What a command of the shell prints; nothing where it is not there.
  static std::string said_by(const std::string& command) {
    StartLine line;
    line.words = {"sh", "-c", command};
    return uninterrupted(line, patience_for_words).text;
  }

  std::vector<std::string> host_names() const {
    std::vector<std::string> names;
    for (const Host& host : hosts_) names.push_back(host.name);
    return names;
  }

  // The hosts as they are, or as a file says.
  void read_nodes() {
    if (!words_.placement.cluster.empty()) {
      cluster_ = read_cluster(words_.placement.cluster);
      if (hosts_.empty()) {
        for (const Node& node : cluster_.nodes) hosts_.push_back({node.name, 0});
        request_.local = false;
      }
    } else if (request_.local) {
      cluster_.nodes = {describe_this_host()};
    } else {
      constexpr std::chrono::seconds at_most(120);
      const Output output = look(host_names(), "topology", at_most);
      if (!output.in_time)
        throw CommunicationError(fmt::format("the hosts did not say within {} s what they have; --cluster takes a description, which "
                                             "spares the look", at_most.count()));
      if (output.status != 0)
        throw CommunicationError(fmt::format("the hosts could not be looked at: {} ended with status {}", request_.program,
                                             output.status));
      cluster_ = parse_cluster(output.text, "what the hosts say of themselves");
      if (!by_slurm_) name_nodes_as_asked();
    }
    keep_only_hosts();
    if (by_slurm_) warn_of_shared_nodes();
  }

  // One rank on each host.
  Output look(const std::vector<std::string>& hosts, const std::string& command, std::chrono::seconds at_most) const {
    const StartLine line = without_users_own(start_on_each_host(hosts, request_, {this_program(), command}));
    if (words_.verbose) print(line, stderr);
    return uninterrupted(line, at_most);
  }

  struct Interrupted {
    int signal;
  };

  static Output uninterrupted(const StartLine& line, std::chrono::seconds at_most) {
    Output output = output_of(line, at_most);
    note_left(output.left);
    if (output.interrupted_by > 0) throw Interrupted{output.interrupted_by};
    return output;
  }

  // A host need not call itself what it was asked for by: localhost, an address, an alias of ssh. mpirun numbers the ranks in the
  // order of the hosts.
  void name_nodes_as_asked() {
    if (cluster_.nodes.size() != hosts_.size())
      throw DataError(fmt::format("{} hosts call themselves by {} names", hosts_.size(), cluster_.nodes.size()));
    for (std::size_t n = 0; n < hosts_.size(); ++n) {
      std::string& name = cluster_.nodes[n].name;
      const auto other = std::find_if(hosts_.begin(), hosts_.end(), [&](const Host& host) { return same_host(host.name, name); });
      if (!same_host(hosts_[n].name, name) && other != hosts_.end())
        throw DataError("host " + hosts_[n].name + " calls itself " + name + ", which is another of the hosts");
      name = hosts_[n].name;
    }
  }

  static void note_left(const std::vector<int>& processes) {
    if (!processes.empty())
      note(fmt::format("{} {} cannot be ended: {} for a disk or a network file system to answer", processes.size() == 1 ? "process" : "processes",
                       fmt::join(processes, ", "), processes.size() == 1 ? "it waits" : "they wait"));
  }

  // With or without a domain.
  static bool same_host(const std::string& a, const std::string& b) {
    return a == b || a.starts_with(b + ".") || b.starts_with(a + ".");
  }

  void warn_of_shared_nodes() const {
    const char* const nodes = std::getenv("SLURM_JOB_NODELIST");
    const char* const processors = std::getenv("SLURM_JOB_CPUS_PER_NODE");
    if (!nodes || !processors) return;
    const std::string sizes = said_by("sinfo --noheader --Node --format='%N %c %z' --nodes=\"$SLURM_JOB_NODELIST\" 2>&1");
    if (const std::string shared = shared_node_of(cluster_, nodes, processors, sizes); !shared.empty()) note("warning: " + shared);
  }

  // In the order of the hosts, with their slots.
  void keep_only_hosts() {
    if (hosts_.empty()) return;
    Cluster kept;
    for (const Host& host : hosts_) {
      const auto found = std::find_if(cluster_.nodes.begin(), cluster_.nodes.end(),
                                      [&](const Node& node) { return same_host(node.name, host.name); });
      if (found == cluster_.nodes.end())
        throw DataError("the description of the cluster has no host " + host.name);
      kept.nodes.push_back(*found);
      kept.nodes.back().name = host.name;
      if (host.slots > 0) kept.nodes.back().most_ranks = host.slots;
    }
    cluster_ = std::move(kept);
  }

  int threads_of_job() const {
    const std::string threads = value_of(job_, "--threads");
    return threads.empty() ? 0 : std::atoi(threads.c_str());
  }

  void place() {
    PlacementRequest request = words_.placement.request(cluster_, value_of(job_, "--device"), threads_of_job());
    try {
      placement_ = place_ranks(cluster_, request);
    } catch (const UsageError&) {  // the hosts that are left have no room for as many
      if (ranks_left_ == 0) throw;
      request.ranks = ranks_left_;
      placement_ = place_ranks(cluster_, request);
    }
    for (const std::string& warning : placement_.warnings) note("warning: " + warning);
  }

  bool job_resumes() const { return std::find(job_.begin(), job_.end(), "--resume") != job_.end(); }

  // Before a restart adds --resume: what there is to go on from must be of this job.
  void check_checkpoints() const {
    IoExecutor io;
    if (!job_resumes()) CheckpointFolder(io, value_of(job_, "--checkpoint")).check_unused();
  }

  std::vector<std::string> job_line(bool resuming) const {
    std::vector<std::string> line = {this_program()};
    line.insert(line.end(), job_.begin(), job_.end());
    if (resuming && !job_resumes()) line.emplace_back("--resume");
    return line;
  }

  StartLine line_for(bool resuming, const std::string& life_line) const {
    StartRequest request = request_;
    std::erase(request.forwarded, std::string(life_line_variable));
    request.forwarded.emplace_back(life_line_variable);
    if (words_.verbose) request.forwarded.emplace_back(verbose_variable);
    StartLine line = start_line(cluster_, placement_, request, job_line(resuming));
    if (words_.verbose) line.environment[verbose_variable] = "1";
    if (!life_line.empty()) line.environment[life_line_variable] = life_line;
    return without_users_own(std::move(line));
  }

  // What the user has set of Open MPI's stands.
  static StartLine without_users_own(StartLine line) {
    std::erase_if(line.environment, [](const auto& variable) {
      return variable.first.starts_with("OMPI_") && std::getenv(variable.first.c_str());
    });
    return line;
  }

  void print(const StartLine& line, std::FILE* to) const {
    for (const auto& [name, value] : line.environment) fmt::print(to, "{}={}\n", name, quoted({value}));
    fmt::print(to, "{}\n", quoted(line.words));
  }

  int print_only() {
    place();
    for (std::size_t rank = 0; rank < placement_.ranks.size(); ++rank) {
      const RankPlace& place = placement_.ranks[rank];
      const Node& node = cluster_.nodes[static_cast<std::size_t>(place.node)];
      fmt::print("rank {:>4}  {:<16} cores {:<16} numa {}{}\n", rank, node.name,
                 place.cores.empty() ? "any" : format_cpu_list(place.cores), format_cpu_list(place.domains),
                 place.gpu < 0 ? "" : fmt::format("  gpu {}", node.gpus[static_cast<std::size_t>(place.gpu)].number));
    }
    print(line_for(false, ""), stdout);
    return 0;
  }

  int run_with_restarts() {
    if (words_.max_restarts > 0 && !words_.preflight) check_checkpoints();
    for (int attempt = 0;; ++attempt) {
      place();
      const Ending ending = run_once(attempt > 0);
      int status = ending.status;
      if (!ending.killed_for.empty()) {
        note(fmt::format("killed {}: {}", request_.program, ending.killed_for));
        status = ending.job_status.value_or(static_cast<int>(ErrorKind::communication));
      } else if (by_slurm_ && status == 0 && !ending.heard) {
        note("srun ended as though all were well, without a word of rank 0");
        status = static_cast<int>(ErrorKind::communication);
      }
      if (ending.interrupted || ending.stop_requested || words_.preflight || !worth_a_restart(status)) return status;
      if (attempt == words_.max_restarts) {
        if (words_.max_restarts > 0) note(fmt::format("gave up after {} restarts", attempt));
        return status;
      }
      note(fmt::format("the job ended with status {}: restart {} of {} from its last checkpoint", status, attempt + 1,
                       words_.max_restarts));
      drop_lost_hosts();
    }
  }

  Ending run_once(bool resuming) {
    Patience patience;
    patience.silence = std::chrono::seconds(words_.silence);
    LifeLineWatch watch(request_.local, patience.silence);
    const StartLine line = line_for(resuming, watch.where());
    if (words_.verbose) print(line, stderr);
    Ending ending = supervise(line, watch, patience);
    note_left(ending.left);
    return ending;
  }

  // What went wrong with the words or the data would go wrong again, and who asked for a stop wants one.
  static bool worth_a_restart(int status) {
    return status != 0 && status != static_cast<int>(ErrorKind::usage) && status != static_cast<int>(ErrorKind::data) &&
           status != status_stopped_on_request;
  }

  // Goes on with the hosts on which a process can still be started.
  void drop_lost_hosts() {
    if (request_.local || hosts_.size() < 2) return;
    const std::vector<int> ranks = placement_.ranks_of_nodes(cluster_);
    std::vector<Host> kept;
    ranks_left_ = 0;
    for (std::size_t h = 0; h < hosts_.size(); ++h) {
      const Host& host = hosts_[h];
      constexpr std::chrono::seconds at_most(30);
      const Output output = look({host.name}, "--version", at_most);
      if (!output.in_time) note(fmt::format("host {} did not answer within {} s: going on without it", host.name, at_most.count()));
      else if (output.status != 0) note("host " + host.name + " is gone: going on without it");
      if (output.status != 0) continue;
      kept.push_back(host);
      ranks_left_ += ranks[h];
    }
    if (kept.empty()) throw CommunicationError("no host is left");
    hosts_ = std::move(kept);
    keep_only_hosts();
  }

  static void note(const std::string& text) { fmt::print(stderr, "tally launch: {}\n", text); }

  const LaunchWords& words_;
  const std::vector<std::string> job_;
  std::vector<Host> hosts_;  // empty: this host
  bool by_slurm_ = false;
  StartRequest request_;
  Cluster cluster_;
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
  command->add_option("--hosts", words->hosts, "Hosts to run on: a,b, or a:4,b:4 with the ranks each may take");
  command->add_option("--hostfile", words->hostfile, "A file of them, a line each, as mpirun takes it");
  command->add_option("--mpirun", words->mpirun, "The mpirun to start them with (default: that of PATH)");
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
