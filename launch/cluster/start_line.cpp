#include "launch/cluster/start_line.hpp"

#include <algorithm>
#include <utility>

#include "launch/cluster/cpu_list.hpp"

namespace tally {
namespace {

using Counts = std::vector<std::pair<std::string, int>>;

// "a:2,b:1"
std::string hosts_with_ranks(const Counts& counts) {
  std::string text;
  for (const auto& [host, ranks] : counts) text += (text.empty() ? "" : ",") + host + ":" + std::to_string(ranks);
  return text;
}

void add_open_mpi(StartLine& line, const Counts& counts, int ranks, const StartRequest& request) {
  auto& words = line.words;
  if (!request.local) {
    words.insert(words.end(), {"-H", hosts_with_ranks(counts)});
    // Its daemon on a host that is cut off would stay for hours.
    line.environment["OMPI_MCA_oob_tcp_keepalive_time"] = "10";
    line.environment["OMPI_MCA_oob_tcp_keepalive_intvl"] = "5";
    line.environment["OMPI_MCA_oob_tcp_keepalive_probes"] = "3";
  }
  words.insert(words.end(), {"-n", std::to_string(ranks), "--map-by", "slot:OVERSUBSCRIBE", "--bind-to", "none"});
  if (request.as_root) line.environment["OMPI_ALLOW_RUN_AS_ROOT"] = line.environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1";
  std::vector<std::string> names = request.forwarded;
  for (const auto& [name, value] : line.environment)
    if (!name.starts_with("OMPI_")) names.push_back(name);
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
// begin beside one that has them, such as the shell of `srun --pty` or ranks that are still being ended.
void add_slurm(StartLine& line, const Counts& counts, int ranks) {
  auto& words = line.words;
  words.insert(words.end(), {"--mpi=pmix", "--kill-on-bad-exit=1", "--export=ALL", "--cpu-bind=none", "--overcommit", "--overlap",
                             "--ntasks=" + std::to_string(ranks), "--nodes=" + std::to_string(counts.size())});
  const int first = counts.front().second;
  const bool even = std::all_of(counts.begin(), counts.end(), [&](const auto& each) { return each.second == first; });
  if (even) words.push_back("--ntasks-per-node=" + std::to_string(first));
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
  std::string text;
  for (const RankPlace& place : placement.ranks)
    text += (&place == placement.ranks.data() ? "" : ";") + format_cpu_list(place.cores);
  return text;
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
