#include "launch/cluster/cluster.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>

#include "core/error.hpp"
#include "launch/cluster/cpu_list.hpp"

namespace tally {
namespace {

using nlohmann::json;

constexpr int most_nodes = 1 << 16;
constexpr Index most_cores = Index{1} << 24;

// A conversion of the parser's own would cut a number to its last bits.
template <class T>
T value_of(const json& from) {
  if constexpr (std::is_integral_v<T>) {
    constexpr double limit = sizeof(T) < 8 ? std::numeric_limits<int>::max() : 9007199254740992.0;  // 2^53
    const double value = from.get<double>();
    if (!(std::abs(value) <= limit) || value != std::trunc(value))
      throw DataError(fmt::format("{} is no whole number, or far too large", value));
    return static_cast<T>(value);
  } else {
    return from.get<T>();
  }
}

template <class T>
T get(const json& from, const char* name, const T& otherwise) {
  return from.contains(name) ? value_of<T>(from[name]) : otherwise;
}

Gpu parse_gpu(const json& from) {
  return {value_of<int>(from.at("number")), get<std::string>(from, "identity", ""), get<std::string>(from, "name", ""),
          get<Index>(from, "memory_bytes", 0), get(from, "domain", -1)};
}

Node parse_node(const json& from) {
  Node node;
  node.name = from.at("name").get<std::string>();
  node.most_ranks = get(from, "most_ranks", 0);
  for (const json& domain : from.at("domains"))
    node.domains.push_back(
        {parse_cpu_list(domain.at("cores").get<std::string>()), get<Index>(domain, "memory_bytes", 0)});
  if (from.contains("gpus"))
    for (const json& gpu : from["gpus"]) node.gpus.push_back(parse_gpu(gpu));
  node.hidden_gpus = get<std::vector<std::string>>(from, "hidden_gpus", {});
  node.mpi = get<std::string>(from, "mpi", "");
  return node;
}

void check(const Node& node) {
  if (node.name.empty()) throw DataError("a node has no name");
  std::vector<int> cores;
  for (const MemoryDomain& domain : node.domains) {
    if (domain.cores.empty()) throw DataError("node " + node.name + " has a memory domain without cores");
    cores.insert(cores.end(), domain.cores.begin(), domain.cores.end());
  }
  std::sort(cores.begin(), cores.end());
  if (const auto twice = std::adjacent_find(cores.begin(), cores.end()); twice != cores.end())
    throw DataError(fmt::format("node {} lists core {} twice", node.name, *twice));
  if (cores.empty()) throw DataError("node " + node.name + " has no cores");
  for (const Gpu& gpu : node.gpus)
    if (gpu.domain < -1 || gpu.domain >= static_cast<int>(node.domains.size()))
      throw DataError(fmt::format("GPU {} of node {} is at memory domain {}, of {}", gpu.number, node.name, gpu.domain,
                                  node.domains.size()));
}

std::string numbered(const std::string& name, int number) {
  const auto place = name.find("{}");
  if (place == std::string::npos) return name + std::to_string(number);
  return name.substr(0, place) + std::to_string(number) + name.substr(place + 2);
}

// What a parser says of a file that may hold anything, for a terminal, without the name of its exception.
std::string printable(std::string text) {
  if (const auto name = text.find("] "); text.starts_with('[') && name != std::string::npos) text.erase(0, name + 2);
  std::replace_if(text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

}  // namespace

int Node::core_count() const noexcept {
  std::size_t count = 0;
  for (const MemoryDomain& domain : domains) count += domain.cores.size();
  return static_cast<int>(count);
}

Cluster parse_cluster(const std::string& text, const std::string& source) {
  Cluster cluster;
  Index cores = 0;
  try {
    const json whole = json::parse(text);
    for (const json& entry : whole.at("nodes")) {
      const Node node = parse_node(entry);
      check(node);
      const int count = get(entry, "count", 1);
      if (count < 1 || static_cast<int>(cluster.nodes.size()) > most_nodes - count)
        throw DataError(fmt::format("{} nodes are none, or more than {}", count, most_nodes));
      cores += Index{count} * node.core_count();
      if (cores > most_cores) throw DataError(fmt::format("{} cores are more than {}", cores, most_cores));
      for (int i = 0; i < count; ++i) {
        cluster.nodes.push_back(node);
        if (entry.contains("count")) cluster.nodes.back().name = numbered(node.name, i);
      }
    }
  } catch (const json::exception& error) {
    throw DataError(source + " does not describe a cluster: " + printable(error.what()));
  } catch (const Error& error) {
    throw DataError(source + " does not describe a cluster: " + error.what());
  }
  if (cluster.nodes.empty()) throw DataError(source + " does not describe a cluster: it has no nodes");
  std::set<std::string> names;
  for (const Node& node : cluster.nodes)
    if (!names.insert(node.name).second)
      throw DataError(source + " does not describe a cluster: two nodes are called " + node.name);
  return cluster;
}

std::string to_json(const Cluster& cluster) {
  json nodes = json::array();
  for (const Node& node : cluster.nodes) {
    json domains = json::array(), gpus = json::array();
    for (const MemoryDomain& domain : node.domains)
      domains.push_back({{"cores", format_cpu_list(domain.cores)}, {"memory_bytes", domain.memory_bytes}});
    for (const Gpu& gpu : node.gpus)
      gpus.push_back({{"number", gpu.number},
                      {"identity", gpu.identity},
                      {"name", gpu.name},
                      {"memory_bytes", gpu.memory_bytes},
                      {"domain", gpu.domain}});
    nodes.push_back({{"name", node.name}, {"domains", std::move(domains)}, {"gpus", std::move(gpus)}});
    if (node.most_ranks > 0) nodes.back()["most_ranks"] = node.most_ranks;
    if (!node.hidden_gpus.empty()) nodes.back()["hidden_gpus"] = node.hidden_gpus;
    if (!node.mpi.empty()) nodes.back()["mpi"] = node.mpi;
  }
  return json{{"nodes", std::move(nodes)}}.dump(2);
}

}  // namespace tally
