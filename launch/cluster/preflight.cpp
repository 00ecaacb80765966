#include "launch/cluster/preflight.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "launch/cluster/cpu_list.hpp"
#include "launch/resources.hpp"

namespace tally {
namespace {

// All ranks wait for the slowest: one below this part of the median is worth a look.
constexpr double slow_part = 0.7;

// A kind of figure, and how people are told of it.
struct Figure {
  double RankFigures::*rate;
  const char* doing;
  double unit;
  const char* unit_name;
};
constexpr Figure figures[] = {{&RankFigures::gemm_rate, "multiplies matrices", 1e9, "GFLOP/s"},
                              {&RankFigures::copy_rate, "copies memory", 1e9, "GB/s"},
                              {&RankFigures::read_rate, "reads its data", 1e6, "MB/s"}};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

void find_slow(const std::vector<RankFigures>& ranks, std::vector<Finding>& findings) {
  for (const auto& [rate, doing, unit, unit_name] : figures) {
    std::vector<double> rates;
    for (const RankFigures& rank : ranks)
      if (rank.*rate > 0) rates.push_back(rank.*rate);
    if (rates.empty()) continue;
    const double usual = median(rates);
    for (const RankFigures& rank : ranks)
      if (rank.*rate > 0 && rank.*rate < slow_part * usual)
        findings.push_back({Finding::Kind::slow,
                            {rank.rank},
                            fmt::format("rank {} on {} {} at {:.4g} {}, {:.2f} of the median {:.4g}", rank.rank, rank.host,
                                        doing, rank.*rate / unit, unit_name, rank.*rate / usual, usual / unit)});
  }
}

// Ranks of a host that share cores, directly or through others.
struct Sharers {
  std::vector<int> ranks;
  std::set<int> cores, processors;
  int threads = 0;

  bool shares_with(const Sharers& other) const {
    return std::any_of(other.cores.begin(), other.cores.end(), [&](int core) { return cores.contains(core); });
  }
  void take(const Sharers& other) {
    ranks.insert(ranks.end(), other.ranks.begin(), other.ranks.end());
    cores.insert(other.cores.begin(), other.cores.end());
    processors.insert(other.processors.begin(), other.processors.end());
    threads += other.threads;
  }
};

std::vector<Sharers> sharers_among(const std::vector<const RankFigures*>& ranks) {
  std::vector<Sharers> all;
  for (const RankFigures* rank : ranks) {
    Sharers mine{{rank->rank},
                 {rank->cores.begin(), rank->cores.end()},
                 {rank->processors.begin(), rank->processors.end()},
                 rank->threads};
    std::vector<Sharers> others;
    for (Sharers& group : all) {
      if (group.shares_with(mine)) mine.take(group);
      else others.push_back(std::move(group));
    }
    others.push_back(std::move(mine));
    all = std::move(others);
  }
  for (Sharers& group : all) std::sort(group.ranks.begin(), group.ranks.end());
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.ranks.front() < b.ranks.front(); });
  return all;
}

std::string list(const char* one, const std::vector<int>& numbers) {
  return fmt::format("{}{} {}", one, numbers.size() == 1 ? "" : "s", format_cpu_list(numbers));
}
std::string list(const char* one, const std::set<int>& numbers) {
  return list(one, std::vector<int>(numbers.begin(), numbers.end()));
}

void find_contention(const std::string& host, const std::vector<const RankFigures*>& ranks, std::vector<Finding>& findings) {
  const std::vector<Sharers> groups = sharers_among(ranks);
  std::set<int> idle;
  for (const RankFigures* rank : ranks) idle.insert(rank->host_cores.begin(), rank->host_cores.end());
  for (const Sharers& group : groups)
    for (const int core : group.cores) idle.erase(core);
  for (const Sharers& group : groups) {
    const auto threads = static_cast<std::size_t>(group.threads);
    // Hardware threads of a core help each other out only where no other core is left.
    const bool crowded = group.ranks.size() > 1 && threads > group.cores.size() && !idle.empty();
    if (!crowded && threads <= group.processors.size()) continue;
    std::string words = fmt::format("{} on {} {} {} threads on {}", list("rank", group.ranks), host,
                                    group.ranks.size() == 1 ? "runs" : "run", threads,
                                    crowded ? list("core", group.cores) : list("processor", group.processors));
    if (!idle.empty()) words += fmt::format(" while {} {} free", list("core", idle), idle.size() == 1 ? "is" : "are");
    findings.push_back({Finding::Kind::binding, group.ranks, words});
  }
}

void find_gpus(const std::string& host, const std::vector<const RankFigures*>& ranks, std::vector<Finding>& findings) {
  std::map<std::string, std::vector<int>> users;
  for (const RankFigures* rank : ranks)
    if (rank->wants_gpu) users[rank->gpu].push_back(rank->rank);
  for (const auto& [gpu, who] : users) {
    if (gpu.empty())
      findings.push_back({Finding::Kind::gpu, who, fmt::format("{} on {} {} no GPU", list("rank", who), host,
                                                               who.size() == 1 ? "has" : "have")});
    else if (who.size() > 1)
      findings.push_back({Finding::Kind::gpu, who, fmt::format("{} on {} share the GPU {}", list("rank", who), host, gpu)});
  }
}

const char* word_of(Finding::Kind kind) {
  switch (kind) {
    case Finding::Kind::slow: return "slow";
    case Finding::Kind::binding: return "binding";
    case Finding::Kind::gpu: break;
  }
  return "gpu";
}

nlohmann::json json_of(const RankFigures& rank) {
  return {{"rank", rank.rank},
          {"host", rank.host},
          {"host_cores", format_cpu_list(rank.host_cores)},
          {"cores", format_cpu_list(rank.cores)},
          {"processors", format_cpu_list(rank.processors)},
          {"threads", rank.threads},
          {"wants_gpu", rank.wants_gpu},
          {"gpu", rank.gpu},
          {"gemm_flops_per_second", rank.gemm_rate},
          {"copy_bytes_per_second", rank.copy_rate},
          {"read_bytes_per_second", rank.read_rate}};
}

std::string rate_in(double rate, double unit) { return rate > 0 ? fmt::format("{:.4g}", rate / unit) : "-"; }

}  // namespace

std::vector<Finding> findings_of(const PreflightReport& report) {
  std::vector<Finding> findings;
  find_slow(report.ranks, findings);
  std::map<std::string, std::vector<const RankFigures*>> hosts;
  for (const RankFigures& rank : report.ranks) hosts[rank.host].push_back(&rank);
  for (const auto& [host, ranks] : hosts) find_contention(host, ranks, findings);
  for (const auto& [host, ranks] : hosts) find_gpus(host, ranks, findings);
  return findings;
}

std::string to_json(const RankFigures& figures) { return json_of(figures).dump(); }

RankFigures parse_figures(const std::string& json) {
  const nlohmann::json entry = nlohmann::json::parse(json);
  const auto numbers = [&](const char* name) { return parse_cpu_list(entry.at(name).get<std::string>()); };
  return {entry.at("rank"),      entry.at("host"), numbers("host_cores"),
          numbers("cores"),      numbers("processors"), entry.at("threads"),
          entry.at("wants_gpu"), entry.at("gpu"),  entry.at("gemm_flops_per_second"),
          entry.at("copy_bytes_per_second"), entry.at("read_bytes_per_second")};
}

std::string to_json(const PreflightReport& report, const std::vector<Finding>& findings) {
  nlohmann::json all{{"ranks", nlohmann::json::array()},
                     {"allreduce", nlohmann::json::array()},
                     {"findings", nlohmann::json::array()}};
  for (const RankFigures& rank : report.ranks) all["ranks"].push_back(json_of(rank));
  for (const SumTime& sum : report.sums) all["allreduce"].push_back({{"bytes", sum.bytes}, {"seconds", sum.seconds}});
  for (const Finding& finding : findings)
    all["findings"].push_back({{"kind", word_of(finding.kind)}, {"ranks", finding.ranks}, {"words", finding.words}});
  return all.dump(2);
}

std::string to_table(const PreflightReport& report, const std::vector<Finding>& findings) {
  std::string text = fmt::format("{:>5}  {:<16} {:<14} {:>7}  {:<12}  {:>12} {:>10} {:>10}\n", "rank", "host", "cores",
                                 "threads", "gpu", "GEMM GFLOP/s", "copy GB/s", "read MB/s");
  for (const RankFigures& rank : report.ranks)
    text += fmt::format("{:>5}  {:<16} {:<14} {:>7}  {:<12}  {:>12} {:>10} {:>10}\n", rank.rank, rank.host,
                        format_cpu_list(rank.cores), rank.threads, rank.gpu.empty() ? "-" : rank.gpu,
                        rate_in(rank.gemm_rate, 1e9), rate_in(rank.copy_rate, 1e9), rate_in(rank.read_rate, 1e6));
  for (const SumTime& sum : report.sums)
    text += fmt::format("allreduce of {}: {:.4g} us\n", format_bytes(sum.bytes), 1e6 * sum.seconds);
  for (const Finding& finding : findings) text += fmt::format("{}: {}\n", word_of(finding.kind), finding.words);
  if (findings.empty()) text += "nothing amiss\n";
  return text;
}

}  // namespace tally
