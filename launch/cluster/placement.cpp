#include "launch/cluster/placement.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <strings.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/error.hpp"
#include "launch/cluster/mpi_support.hpp"

namespace tally {
namespace {

// The i-th of `count` even parts of a list.
std::vector<int> part_of(const std::vector<int>& all, int i, int count) {
  const auto start = [&](int part) {
    return all.begin() + static_cast<std::ptrdiff_t>(all.size()) * part / count;
  };
  return {start(i), start(i + 1)};
}

// `total` shared out in proportion to `weights`, the remainders to those that it leaves shortest, of ties the first.
std::vector<int> share_among(const std::vector<int>& weights, int total) {
  const Index sum = std::accumulate(weights.begin(), weights.end(), Index{0});
  std::vector<int> shares;
  for (const int weight : weights) shares.push_back(static_cast<int>(Index{total} * weight / sum));
  for (int left = total - std::accumulate(shares.begin(), shares.end(), 0); left > 0; --left) {
    const auto missing = [&](std::size_t i) { return Index{total} * weights[i] - shares[i] * sum; };
    std::size_t shortest = 0;
    for (std::size_t i = 1; i < weights.size(); ++i)
      if (missing(i) > missing(shortest)) shortest = i;
    ++shares[shortest];
  }
  return shares;
}

// Ranks of one node on its cores, not more than one domain each where there are as many ranks as domains.
std::vector<RankPlace> place_on_cores(const Node& node, int ranks) {
  std::vector<RankPlace> places;
  const auto domain_count = static_cast<int>(node.domains.size());
  if (ranks < domain_count) {
    std::vector<int> all(node.domains.size());
    std::iota(all.begin(), all.end(), 0);
    for (int i = 0; i < ranks; ++i) {
      RankPlace place;
      place.domains = part_of(all, i, ranks);
      for (const int d : place.domains) {
        const auto& cores = node.domains[static_cast<std::size_t>(d)].cores;
        place.cores.insert(place.cores.end(), cores.begin(), cores.end());
      }
      places.push_back(std::move(place));
    }
    return places;
  }
  std::vector<int> cores_of_domains;
  for (const MemoryDomain& domain : node.domains) cores_of_domains.push_back(static_cast<int>(domain.cores.size()));
  const std::vector<int> shares = share_among(cores_of_domains, ranks);
  for (int d = 0; d < domain_count; ++d) {
    const int share = shares[static_cast<std::size_t>(d)];
    for (int i = 0; i < share; ++i)
      places.push_back({0, 0, part_of(node.domains[static_cast<std::size_t>(d)].cores, i, share), {d}, -1});
  }
  return places;
}

// One rank a GPU on its share of the cores of the domain that the GPU is attached to; of all cores where that is not known.
std::vector<RankPlace> place_near_gpus(const Node& node, int ranks) {
  const auto domain_of = [&](int rank) { return node.gpus[static_cast<std::size_t>(rank)].domain; };
  std::vector<RankPlace> places;
  for (int rank = 0; rank < ranks; ++rank) {
    const int domain = domain_of(rank);
    int before = 0, sharing = 0;
    for (int other = 0; other < ranks; ++other) {
      if (domain_of(other) != domain) continue;
      before += other < rank;
      ++sharing;
    }
    RankPlace place;
    place.gpu = rank;
    std::vector<int> cores;
    for (int d = 0; d < static_cast<int>(node.domains.size()); ++d) {
      if (domain >= 0 && d != domain) continue;
      place.domains.push_back(d);
      const auto& more = node.domains[static_cast<std::size_t>(d)].cores;
      cores.insert(cores.end(), more.begin(), more.end());
    }
    place.cores = part_of(cores, before, sharing);
    places.push_back(std::move(place));
  }
  return places;
}

constexpr int most_ranks = 1 << 20;  // whose statistics can be added up: Grid::headroom_bits

constexpr const char* what_hides_gpus = "CUDA_VISIBLE_DEVICES, the allocation or the container";

// As many ranks as a node is made for, or as were asked for.
int ranks_for(const Node& node, const PlacementRequest& request) {
  if (request.gpus && node.gpus.empty())
    throw UsageError(fmt::format("node {} has no usable GPU{}", node.name,
                                 node.hidden_gpus.empty() ? "" : fmt::format(": {} hides all of them", what_hides_gpus)));
  const auto gpus = static_cast<int>(node.gpus.size());
  if (request.ranks_per_node == 0) {
    const int ranks = request.gpus ? gpus : static_cast<int>(node.domains.size());
    return node.most_ranks > 0 ? std::min(ranks, node.most_ranks) : ranks;
  }
  if (request.gpus && request.ranks_per_node > gpus)
    throw UsageError(fmt::format("{} ranks on node {}, which has {} usable {}: a rank needs one of its own",
                                 request.ranks_per_node, node.name, gpus, gpus == 1 ? "GPU" : "GPUs"));
  if (node.most_ranks > 0 && request.ranks_per_node > node.most_ranks)
    throw UsageError(fmt::format("{} ranks on node {}, where the allocation has room for {}", request.ranks_per_node,
                                 node.name, node.most_ranks));
  return request.ranks_per_node;
}

// More ranks than the nodes are made for, by their cores, none beyond the slots of its node.
std::vector<int> spread(const Cluster& cluster, int ranks) {
  std::vector<int> counts(cluster.nodes.size());
  std::vector<std::size_t> open;
  for (std::size_t n = 0; n < counts.size(); ++n) open.push_back(n);
  for (int left = ranks; left > 0;) {
    if (open.empty())
      throw UsageError(fmt::format("{} ranks were asked for and there is room for {}", ranks, ranks - left));
    std::vector<int> cores;
    for (const std::size_t n : open) cores.push_back(cluster.nodes[n].core_count());
    const std::vector<int> shares = share_among(cores, left);
    std::vector<std::size_t> still_open;
    for (std::size_t i = 0; i < open.size(); ++i) {
      const std::size_t n = open[i];
      const int slots = cluster.nodes[n].most_ranks;
      const int more = slots > 0 ? std::min(shares[i], slots - counts[n]) : shares[i];
      counts[n] += more;
      left -= more;
      if (slots == 0 || counts[n] < slots) still_open.push_back(n);
    }
    open = std::move(still_open);
  }
  return counts;
}

void check_number(Index ranks) {
  if (ranks > most_ranks) throw UsageError(fmt::format("{} ranks were asked for, and {} are the most", ranks, most_ranks));
}

// The number of ranks of each node.
std::vector<int> share_among_nodes(const Cluster& cluster, const PlacementRequest& request) {
  check_number(request.ranks);
  check_number(static_cast<Index>(cluster.nodes.size()) * request.ranks_per_node);
  std::vector<int> counts;
  for (const Node& node : cluster.nodes) counts.push_back(ranks_for(node, request));
  if (request.ranks == 0) return counts;
  const int room = std::accumulate(counts.begin(), counts.end(), 0);
  if (request.ranks > room) {
    if (request.gpus || request.ranks_per_node > 0)
      throw UsageError(fmt::format("{} ranks were asked for and there is room for {}", request.ranks, room));
    return spread(cluster, request.ranks);
  }
  int left = request.ranks;
  for (int& count : counts) {
    count = std::min(count, left);
    left -= count;
  }
  return counts;
}

template <class What>
std::vector<const Node*> nodes_that(const Cluster& cluster, const What& is_so) {
  std::vector<const Node*> found;
  for (const Node& node : cluster.nodes)
    if (is_so(node)) found.push_back(&node);
  return found;
}

// "node a", or "node a and 3 more"
std::string named(const std::vector<const Node*>& nodes) {
  const std::string first = "node " + nodes.front()->name;
  return nodes.size() == 1 ? first : fmt::format("{} and {} more", first, nodes.size() - 1);
}

bool numbers_gpus_by_bus(const Node& node) {
  return std::is_sorted(node.gpus.begin(), node.gpus.end(), [](const Gpu& a, const Gpu& b) {
    return strcasecmp(a.identity.c_str(), b.identity.c_str()) < 0;
  });
}

void warn_of_gpus(const Cluster& cluster, const PlacementRequest& request, std::vector<std::string>& warnings) {
  const auto hiding = nodes_that(cluster, [](const Node& node) { return !node.hidden_gpus.empty(); });
  if ((request.gpus || request.gpus_welcome) && !hiding.empty())
    warnings.push_back(fmt::format("{} hides GPUs of {}: {}", what_hides_gpus, named(hiding),
                                   fmt::join(hiding.front()->hidden_gpus, ", ")));
  const auto unordered = nodes_that(cluster, [](const Node& node) { return !numbers_gpus_by_bus(node); });
  if (request.gpus && !unordered.empty())
    warnings.push_back(fmt::format("CUDA does not number the GPUs of {} in the order of their buses: the ranks need the "
                                   "CUDA_DEVICE_ORDER with which the hosts were described; PCI_BUS_ID is nvidia-smi's order",
                                   named(unordered)));
}

// Nodes of which the same is to be said, in one warning: there may be thousands.
void warn_of_counts(const Cluster& cluster, const PlacementRequest& request, Placement& placement) {
  const std::vector<int> counts = placement.ranks_of_nodes(cluster);
  std::vector<char> unbound(counts.size(), 0);  // a rank of it has no core
  for (const RankPlace& place : placement.ranks) unbound[static_cast<std::size_t>(place.node)] |= place.cores.empty();
  std::vector<std::pair<std::string, std::vector<const Node*>>> findings;
  const auto find = [&](const Node& node, std::string what) {
    const auto same = std::find_if(findings.begin(), findings.end(), [&](const auto& each) { return each.first == what; });
    if (same == findings.end()) findings.push_back({std::move(what), {&node}});
    else same->second.push_back(&node);
  };
  for (std::size_t n = 0; n < counts.size(); ++n) {
    const Node& node = cluster.nodes[n];
    const int cores = node.core_count();
    if (counts[n] == 0)
      find(node, "no rank");
    else if (counts[n] > cores)
      find(node, fmt::format("{} ranks on {} {}, which share and wait for each other", counts[n], cores,
                             cores == 1 ? "core" : "cores"));
    else if (unbound[n])
      find(node, "more ranks near some memory than cores there");
    if (request.gpus && counts[n] > 0 && counts[n] < static_cast<int>(node.gpus.size()))
      find(node, fmt::format("ranks on {} of {} GPUs", counts[n], node.gpus.size()));
  }
  for (const auto& [what, nodes] : findings)
    placement.warnings.push_back(fmt::format("{} {} {}", named(nodes), nodes.size() == 1 ? "has" : "have", what));
}

void warn(const Cluster& cluster, const PlacementRequest& request, Placement& placement) {
  warn_of_gpus(cluster, request, placement.warnings);
  warn_of_libraries(cluster, placement.warnings);
  warn_of_counts(cluster, request, placement);
}

}  // namespace

int Placement::threads_of(int rank) const {
  return std::max(1, static_cast<int>(ranks[static_cast<std::size_t>(rank)].cores.size()));
}

std::vector<int> Placement::ranks_of_nodes(const Cluster& cluster) const {
  std::vector<int> counts(cluster.nodes.size());
  for (const RankPlace& place : ranks) ++counts[static_cast<std::size_t>(place.node)];
  return counts;
}

Placement place_ranks(const Cluster& cluster, const PlacementRequest& request) {
  const std::vector<int> counts = share_among_nodes(cluster, request);
  Placement placement;
  for (std::size_t n = 0; n < counts.size(); ++n) {
    const Node& node = cluster.nodes[n];
    std::vector<RankPlace> places = request.gpus ? place_near_gpus(node, counts[n]) : place_on_cores(node, counts[n]);
    for (std::size_t i = 0; i < places.size(); ++i) {
      RankPlace& place = places[i];
      place.node = static_cast<int>(n);
      place.local_rank = static_cast<int>(i);
      if (counts[n] > node.core_count()) place.cores.clear();
      if (request.threads > 0 && static_cast<int>(place.cores.size()) > request.threads)
        place.cores.resize(static_cast<std::size_t>(request.threads));
      placement.ranks.push_back(std::move(place));
    }
  }
  warn(cluster, request, placement);
  return placement;
}

}  // namespace tally
