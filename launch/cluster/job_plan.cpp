#include "launch/cluster/job_plan.hpp"

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

constexpr double usable_memory = 0.7;

// A rank's share of the memory of its domains, which it shares with the ranks beside it.
std::vector<Index> memory_of_ranks(const Cluster& cluster, const Placement& placement) {
  std::map<std::pair<int, int>, Index> users;
  for (const RankPlace& place : placement.ranks)
    for (const int domain : place.domains) ++users[{place.node, domain}];
  std::vector<Index> bytes;
  for (const RankPlace& place : placement.ranks) {
    const Node& node = cluster.nodes[static_cast<std::size_t>(place.node)];
    Index sum = 0;
    for (const int domain : place.domains)
      sum += node.domains[static_cast<std::size_t>(domain)].memory_bytes / users[{place.node, domain}];
    bytes.push_back(sum);
  }
  return bytes;
}

const StoredRows& part_of(const std::vector<StoredRows>& stored, Index row) {
  const auto after = std::upper_bound(stored.begin(), stored.end(), row,
                                      [](Index value, const StoredRows& part) { return value < part.first_row; });
  return *std::prev(after);
}

Index file_bytes(const std::vector<StoredRows>& stored, Index first, Index last) {
  Index bytes = 0;
  for (const StoredRows& part : stored) {
    const Index from = std::max(first, part.first_row), to = std::min(last, part.first_row + part.rows);
    bytes += std::max<Index>(0, to - from) * part.row_bytes;
  }
  return bytes;
}

// Whether the chunk with this row begins before it.
bool cuts_chunk(const std::vector<StoredRows>& stored, Index row) {
  const StoredRows& part = part_of(stored, row);
  return part.chunk_rows > 0 && (row - part.first_row) % part.chunk_rows != 0;
}

Index sequences_that_begin(const Sequences* sequences, Index first, Index last) {
  if (!sequences || first == last) return 0;
  const auto before = [&](Index row) {
    if (row == sequences->rows()) return sequences->count();
    const Index sequence = sequences->sequence_of(row);
    return sequence + (sequences->first_row(sequence) < row ? 1 : 0);
  };
  return before(last) - before(first);
}

Index work_of_blocks(const BlockPlan& blocks, BlockRange range, RowWork work) {
  Index sum = 0;
  for (Index block = range.first; block < range.last; ++block) {
    const Index cut = blocks.cut_rows_of(block);
    sum += (blocks.rows_of(block) - cut) * work.whole + cut * work.cut;
  }
  return sum;
}

RankShare share_of(const JobShape& job, BlockRange range, int threads, Index memory_there) {
  RankShare share;
  share.first_row = job.blocks.first_row(range.first);
  const Index end = job.blocks.first_row(range.last);
  share.rows = end - share.first_row;
  share.blocks = range.count();
  share.sequences = sequences_that_begin(job.blocks.sequences(), share.first_row, end);
  share.file_bytes = file_bytes(job.stored, share.first_row, end);
  share.memory_there = memory_there;
  Shard::Options options = job.shard;
  options.lanes = threads;
  Index limit = options.memory_limit;
  if (limit == 0 && memory_there > 0) limit = static_cast<Index>(usable_memory * static_cast<double>(memory_there));
  Index rows = Shard::resident_bytes(share.rows, job.columns, job.weights, job.given_columns, options);
  Index remembered = share.rows * job.remembered_bytes;
  share.streamed = limit > 0 && rows > limit;
  if (limit > 0 && rows + remembered > limit) remembered = 0;
  if (share.streamed)
    rows = Shard::streaming_bytes(job.blocks.most_rows(), job.columns, job.weights, job.given_columns, options);
  share.memory_needed = rows + remembered + threads * job.model_bytes + job.message_bytes;
  return share;
}

void warn(const Cluster& cluster, JobPlan& plan) {
  const auto count = [&](const auto& which) { return std::count_if(plan.shares.begin(), plan.shares.end(), which); };
  if (const auto idle = count([](const RankShare& share) { return share.rows == 0; }); idle > 0)
    plan.warnings.push_back(fmt::format("{} of {} ranks have no rows: there are fewer blocks than ranks", idle,
                                        plan.shares.size()));
  if (const auto cut = count([](const RankShare& share) { return share.shares_chunk; }); cut > 0)
    plan.warnings.push_back(fmt::format("{} {} read by two ranks each, whose parts meet within", cut,
                                        cut == 1 ? "chunk of the files is" : "chunks of the files are"));
  if (const auto streamed = count([](const RankShare& share) { return share.streamed; }); streamed > 0)
    plan.warnings.push_back(fmt::format("{} of {} ranks have no room for their rows: they read them anew in every pass",
                                        streamed, plan.shares.size()));
  std::set<int> short_of_memory;  // nodes
  for (std::size_t rank = 0; rank < plan.shares.size(); ++rank)
    if (const RankShare& share = plan.shares[rank]; share.memory_there > 0 && share.memory_needed > share.memory_there)
      short_of_memory.insert(plan.placement.ranks[rank].node);
  if (!short_of_memory.empty()) {
    std::string nodes = "node " + cluster.nodes[static_cast<std::size_t>(*short_of_memory.begin())].name;
    if (short_of_memory.size() > 1) nodes += fmt::format(" and {} more", short_of_memory.size() - 1);
    plan.warnings.push_back("ranks on " + nodes + " need more memory than they have: use more nodes, fewer threads or --memory");
  }
  if (plan.imbalance > 0.05)
    plan.warnings.push_back(fmt::format("the rank with the most work has {:.0f} % more than the mean", 100 * plan.imbalance));
}

std::string gpu_of(const RankPlace& place, const Node& node) {
  return place.gpu < 0 ? "-" : std::to_string(node.gpus[static_cast<std::size_t>(place.gpu)].number);
}

std::string domains_of(const RankPlace& place) { return format_cpu_list(place.domains); }

}  // namespace

JobPlan plan_job(const Cluster& cluster, Placement placement, const JobShape& job) {
  JobPlan plan;
  plan.placement = std::move(placement);
  const auto size = static_cast<int>(plan.placement.ranks.size());
  const std::vector<Index> memory = memory_of_ranks(cluster, plan.placement);
  Index most = 0, sum = 0;
  for (int rank = 0; rank < size; ++rank) {
    const BlockRange range = blocks_of_rank(job.blocks, rank, size, job.work);
    RankShare share =
        share_of(job, range, plan.placement.threads_of(rank), memory[static_cast<std::size_t>(rank)]);
    share.shares_chunk = rank > 0 && share.rows > 0 && cuts_chunk(job.stored, share.first_row);
    const Index work = work_of_blocks(job.blocks, range, job.work);
    most = std::max(most, work);
    sum += work;
    plan.shares.push_back(share);
  }
  if (sum > 0) plan.imbalance = static_cast<double>(most) * size / static_cast<double>(sum) - 1;
  plan.warnings = plan.placement.warnings;
  warn(cluster, plan);
  return plan;
}

std::string to_json(const JobPlan& plan, const Cluster& cluster) {
  nlohmann::json ranks = nlohmann::json::array();
  for (std::size_t rank = 0; rank < plan.shares.size(); ++rank) {
    const RankPlace& place = plan.placement.ranks[rank];
    const RankShare& share = plan.shares[rank];
    const Node& node = cluster.nodes[static_cast<std::size_t>(place.node)];
    nlohmann::json entry{{"rank", rank},
                         {"host", node.name},
                         {"local_rank", place.local_rank},
                         {"cores", format_cpu_list(place.cores)},
                         {"numa", place.domains},
                         {"first_row", share.first_row},
                         {"rows", share.rows},
                         {"blocks", share.blocks},
                         {"file_bytes", share.file_bytes},
                         {"streamed", share.streamed},
                         {"memory_needed_bytes", share.memory_needed},
                         {"memory_there_bytes", share.memory_there},
                         {"first_chunk_read_twice", share.shares_chunk}};
    if (place.gpu >= 0) entry["gpu"] = node.gpus[static_cast<std::size_t>(place.gpu)].number;
    if (share.sequences > 0) entry["sequences"] = share.sequences;
    ranks.push_back(std::move(entry));
  }
  const nlohmann::json all{{"ranks", std::move(ranks)}, {"imbalance", plan.imbalance}, {"warnings", plan.warnings}};
  return all.dump(2);
}

std::string to_table(const JobPlan& plan, const Cluster& cluster) {
  // Of many ranks alike nobody reads all: the first and the last of each run are shown.
  constexpr std::size_t shown_at_each_end = 8;
  const bool sequences = std::any_of(plan.shares.begin(), plan.shares.end(),
                                     [](const RankShare& share) { return share.sequences > 0; });
  std::string text = fmt::format("{:>5}  {:<12} {:<14} {:>5} {:>4}  {:>12} {:>12}{}  {:>9}  {:>9} of {:<9}\n", "rank",
                                 "host", "cores", "numa", "gpu", "first row", "rows", sequences ? "    sequences" : "",
                                 "reads", "needs", "memory");
  for (std::size_t rank = 0; rank < plan.shares.size(); ++rank) {
    if (plan.shares.size() > 3 * shown_at_each_end && rank == shown_at_each_end) {
      const std::size_t left_out = plan.shares.size() - 2 * shown_at_each_end;
      text += fmt::format("  ...  {} more\n", left_out);
      rank += left_out;
    }
    const RankPlace& place = plan.placement.ranks[rank];
    const RankShare& share = plan.shares[rank];
    const Node& node = cluster.nodes[static_cast<std::size_t>(place.node)];
    text += fmt::format("{:>5}  {:<12} {:<14} {:>5} {:>4}  {:>12} {:>12}{}  {:>9}  {:>9} of {:<9}{}\n", rank, node.name,
                        place.cores.empty() ? "any" : format_cpu_list(place.cores), domains_of(place),
                        gpu_of(place, node), share.first_row, share.rows,
                        sequences ? fmt::format(" {:>12}", share.sequences) : "", format_bytes(share.file_bytes),
                        format_bytes(share.memory_needed),
                        share.memory_there > 0 ? format_bytes(share.memory_there) : "?",
                        share.streamed ? " streamed" : "");
  }
  text += fmt::format("imbalance {:.1f} %\n", 100 * plan.imbalance);
  for (const std::string& warning : plan.warnings) text += "warning: " + warning + "\n";
  return text;
}

}  // namespace tally
