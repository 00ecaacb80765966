#include "launch/job_hosts.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <set>
#include <utility>

#include "comm/mpi_session.hpp"
#include "core/error.hpp"
#include "launch/cluster/mpi_support.hpp"
#include "launch/cluster/slurm_allocation.hpp"
#include "launch/cluster/this_host.hpp"
#include "launch/launch_lines.hpp"
#include "launch/placement_words.hpp"

extern char** environ;

namespace tally {
namespace {

constexpr std::chrono::seconds patience_for_words(20);

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

// What a command of the shell prints; nothing where it is not there.
std::string said_by(const std::string& command) {
  StartLine line;
  line.words = {"sh", "-c", command};
  return uninterrupted(line, patience_for_words).text;
}

std::vector<std::string> names_of(const std::vector<Host>& hosts) {
  std::vector<std::string> names;
  for (const Host& host : hosts) names.push_back(host.name);
  return names;
}

// With or without a domain.
bool same_host(const std::string& a, const std::string& b) {
  return a == b || a.starts_with(b + ".") || b.starts_with(a + ".");
}

}  // namespace

JobHosts::JobHosts(const HostWords& words) : words_(words) {
  find_hosts();
  find_starter();
  read_nodes();
}

void JobHosts::find_hosts() {
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
  if (words_.mpirun.empty()) request_.starter = Starter::slurm;
}

void JobHosts::find_starter() {
  request_.local = hosts_.empty();
  request_.as_root = geteuid() == 0;
  request_.forwarded = variables_to_forward();
  request_.program = by_slurm() ? "srun" : words_.mpirun.empty() ? "mpirun" : words_.mpirun;
  by_slurm() ? check_srun() : check_mpirun();
}

void JobHosts::check_srun() {
  const std::vector<std::string> plugins = parse_srun_plugins(said_by("srun --mpi=list 2>&1"));
  if (!plugins.empty() && std::none_of(plugins.begin(), plugins.end(), [](const auto& name) { return name.starts_with("pmix"); }))
    throw UsageError(fmt::format("srun starts no ranks of MPI by pmix here, only by {}: --mpirun mpirun does without srun",
                                 fmt::join(plugins, ", ")));
}

void JobHosts::check_mpirun() {
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

// The hosts as they are, or as a file says.
void JobHosts::read_nodes() {
  if (!words_.cluster.empty()) {
    cluster_ = read_cluster(words_.cluster);
    if (hosts_.empty()) {
      for (const Node& node : cluster_.nodes) hosts_.push_back({node.name, 0});
      request_.local = false;
    }
  } else if (request_.local) {
    cluster_.nodes = {describe_this_host()};
  } else {
    constexpr std::chrono::seconds at_most(120);
    const Output output = look(names_of(hosts_), "topology", at_most);
    if (!output.in_time)
      throw CommunicationError(fmt::format("the hosts did not say within {} s what they have; --cluster takes a description, which "
                                           "spares the look", at_most.count()));
    if (output.status != 0)
      throw CommunicationError(fmt::format("the hosts could not be looked at: {} ended with status {}", request_.program,
                                           output.status));
    cluster_ = parse_cluster(output.text, "what the hosts say of themselves");
    if (!by_slurm()) name_nodes_as_asked();
  }
  keep_only_hosts();
  if (by_slurm()) warn_of_shared_nodes();
}

// One rank on each host.
Output JobHosts::look(const std::vector<std::string>& hosts, const std::string& command, std::chrono::seconds at_most) const {
  const StartLine line = without_users_own(start_on_each_host(hosts, request_, {this_program(), command}));
  if (words_.verbose) print(line, stderr);
  return uninterrupted(line, at_most);
}

// A host need not call itself what it was asked for by: localhost, an address, an alias of ssh. mpirun numbers the ranks in the
// order of the hosts.
void JobHosts::name_nodes_as_asked() {
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

void JobHosts::warn_of_shared_nodes() const {
  const char* const nodes = std::getenv("SLURM_JOB_NODELIST");
  const char* const processors = std::getenv("SLURM_JOB_CPUS_PER_NODE");
  if (!nodes || !processors) return;
  const std::string sizes = said_by("sinfo --noheader --Node --format='%N %c %z' --nodes=\"$SLURM_JOB_NODELIST\" 2>&1");
  if (const std::string shared = shared_node_of(cluster_, nodes, processors, sizes); !shared.empty()) note("warning: " + shared);
}

// In the order of the hosts, with their slots.
void JobHosts::keep_only_hosts() {
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

int JobHosts::drop_lost(const Placement& placement) {
  if (request_.local || hosts_.size() < 2) return 0;
  const std::vector<int> ranks = placement.ranks_of_nodes(cluster_);
  std::vector<Host> kept;
  int ranks_left = 0;
  for (std::size_t h = 0; h < hosts_.size(); ++h) {
    const Host& host = hosts_[h];
    constexpr std::chrono::seconds at_most(30);
    const Output output = look({host.name}, "--version", at_most);
    if (!output.in_time) note(fmt::format("host {} did not answer within {} s: going on without it", host.name, at_most.count()));
    else if (output.status != 0) note("host " + host.name + " is gone: going on without it");
    if (output.status != 0) continue;
    kept.push_back(host);
    ranks_left += ranks[h];
  }
  if (kept.empty()) throw CommunicationError("no host is left");
  hosts_ = std::move(kept);
  keep_only_hosts();
  return ranks_left;
}

}  // namespace tally
