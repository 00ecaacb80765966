#include "launch/cluster/start_line.hpp"

#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>
#include <utility>

#include "core/error.hpp"
#include "launch/cluster/cpu_list.hpp"

namespace tally {
namespace {

using Counts = std::vector<std::pair<std::string, int>>;

constexpr std::size_t most_bytes_of_hosts = 1 << 16;  // in one word: the system takes no word of 128 KiB

// "a:2,b:1"
std::string hosts_with_ranks(const Counts& counts) {
  std::string text;
  for (const auto& [host, ranks] : counts) text += (text.empty() ? "" : ",") + host + ":" + std::to_string(ranks);
  return text;
}

// The host of every rank. From hosts with slots Open MPI would number the ranks of the host that it runs on first, wherever that
// stands among the others.
void add_host_of_each_rank(std::vector<std::string>& words, const Counts& counts) {
  std::string hosts;
  const auto add = [&] {
    words.insert(words.end(), {"-H", std::move(hosts)});
    hosts.clear();
  };
  for (const auto& [host, ranks] : counts)
    for (int i = 0; i < ranks; ++i) {
      hosts += (hosts.empty() ? "" : ",") + host;
      if (hosts.size() > most_bytes_of_hosts) add();
    }
  if (!hosts.empty()) add();
}

void add_open_mpi(StartLine& line, const Counts& counts, int ranks, const StartRequest& request) {
  auto& words = line.words;
  if (!request.local) {
    add_host_of_each_rank(words, counts);
    // Its daemon on a host that is cut off would stay for hours.
    line.environment["OMPI_MCA_oob_tcp_keepalive_time"] = "10";
    line.environment["OMPI_MCA_oob_tcp_keepalive_intvl"] = "5";
    line.environment["OMPI_MCA_oob_tcp_keepalive_probes"] = "3";
  }
  words.insert(words.end(), {"-n", std::to_string(ranks), "--map-by", request.local ? "slot:OVERSUBSCRIBE" : "seq:OVERSUBSCRIBE",
                             "--bind-to", "none"});
  if (request.as_root) line.environment["OMPI_ALLOW_RUN_AS_ROOT"] = line.environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1";
  std::set<std::string> names(request.forwarded.begin(), request.forwarded.end());
  for (const auto& [name, value] : line.environment)
    if (!name.starts_with("OMPI_")) names.insert(name);
  for (const std::string& name : names) words.insert(words.end(), {"-x", name});
}

// Hydra passes the whole environment on.
void add_mpich(StartLine& line, const Counts& counts, int ranks, const StartRequest& request) {
  auto& words = line.words;
  if (!request.local) words.insert(words.end(), {"-hosts", hosts_with_ranks(counts)});
  words.insert(words.end(), {"-n", std::to_string(ranks), "-bind-to", "none"});
}

// As does srun where it is told to: a job script's --export=NONE would hold for it. Without --kill-on-bad-exit the others would
// wait for a rank that died; --overcommit allows more ranks than the allocation has processors, and --overlap lets a step
// begin beside one that has them, such as the shell of `srun --pty` or ranks that are still being ended. The job's
// --ntasks-per-node holds for its steps, too, and contradicts nodes with different numbers of ranks.
void add_slurm(StartLine& line, const Counts& counts, int ranks) {
  auto& words = line.words;
  words.insert(words.end(), {"--mpi=pmix", "--kill-on-bad-exit=1", "--export=ALL", "--cpu-bind=none", "--overcommit", "--overlap",
                             "--ntasks=" + std::to_string(ranks), "--nodes=" + std::to_string(counts.size())});
  const int first = counts.front().second;
  const bool even = std::all_of(counts.begin(), counts.end(), [&](const auto& each) { return each.second == first; });
  if (even) words.push_back("--ntasks-per-node=" + std::to_string(first));
  else words.insert(words.begin(), {"env", "-u", "SLURM_NTASKS_PER_NODE"});
  words.emplace_back(even ? "--distribution=block" : "--distribution=arbitrary");
  std::string hosts;
  for (const auto& [host, count] : counts)
    for (int i = 0; i < (even ? 1 : count); ++i) hosts += (hosts.empty() ? "" : ",") + host;
  words.push_back("--nodelist=" + hosts);
}

StartLine start(const Counts& counts, StartLine line, const StartRequest& request, const std::vector<std::string>& job) {
  int ranks = 0;
  for (const auto& [host, count] : counts) ranks += count;
  line.words.push_back(request.program);
  switch (request.starter) {
    case Starter::open_mpi:
      add_open_mpi(line, counts, ranks, request);
      break;
    case Starter::mpich:
      add_mpich(line, counts, ranks, request);
      break;
    case Starter::slurm:
      add_slurm(line, counts, ranks);
      break;
  }
  line.words.insert(line.words.end(), job.begin(), job.end());
  return line;
}

}  // namespace

std::string binding_of(const Placement& placement) {
  std::vector<std::pair<std::string, int>> nodes;  // the lists of one, and how many in a row have them
  for (std::size_t rank = 0; rank < placement.ranks.size();) {
    const int node = placement.ranks[rank].node;
    std::string lists = format_cpu_list(placement.ranks[rank].cores);
    while (++rank < placement.ranks.size() && placement.ranks[rank].node == node)
      lists += ";" + format_cpu_list(placement.ranks[rank].cores);
    if (!nodes.empty() && nodes.back().first == lists) ++nodes.back().second;
    else nodes.emplace_back(std::move(lists), 1);
  }
  std::string text;
  for (std::size_t n = 0; n < nodes.size(); ++n)
    text += (n == 0 ? "" : "/") + nodes[n].first + (nodes[n].second == 1 ? "" : "*" + std::to_string(nodes[n].second));
  return text;
}

std::vector<int> cores_of_rank(const std::string& binding, int rank) {
  std::istringstream nodes(binding);
  for (std::string node; std::getline(nodes, node, '/');) {
    const std::string lists = node.substr(0, node.find('*'));
    int times = 1;
    if (lists.size() < node.size()) {
      const char* const end = node.data() + node.size();
      const auto [read, failure] = std::from_chars(node.data() + lists.size() + 1, end, times);
      if (failure != std::errc() || read != end || times < 1)
        throw UsageError(std::string(binding_variable) + ": '" + node + "' does not say how many nodes are alike");
    }
    const auto ranks = static_cast<int>(std::count(lists.begin(), lists.end(), ';')) + 1;
    if (rank / ranks >= times) {
      rank -= ranks * times;
      continue;
    }
    std::istringstream each(lists);
    std::string list;
    for (int i = 0; i <= rank % ranks; ++i)
      if (!std::getline(each, list, ';')) list.clear();
    return parse_cpu_list(list);
  }
  return {};
}

StartLine start_line(const Cluster& cluster, const Placement& placement, const StartRequest& request,
                     const std::vector<std::string>& job) {
  Counts counts;
  const std::vector<int> ranks = placement.ranks_of_nodes(cluster);
  for (std::size_t n = 0; n < ranks.size(); ++n)
    if (ranks[n] > 0) counts.emplace_back(cluster.nodes[n].name, ranks[n]);
  StartLine line;
  line.environment[binding_variable] = binding_of(placement);
  return start(counts, std::move(line), request, job);
}

StartLine start_on_each_host(const std::vector<std::string>& hosts, const StartRequest& request,
                             const std::vector<std::string>& job) {
  Counts counts;
  for (const std::string& host : hosts) counts.emplace_back(host, 1);
  return start(counts, {}, request, job);
}

std::string quoted(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) {
    const bool plain = !word.empty() && word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                               "0123456789_-+=.,:/@%^") == std::string::npos;
    std::string text = plain ? word : "'";
    if (!plain) {
      for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
      text += "'";
    }
    line += (line.empty() ? "" : " ") + text;
  }
  return line;
}

}  // namespace tally
