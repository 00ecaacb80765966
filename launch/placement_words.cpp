#include "launch/placement_words.hpp"

#include <CLI/App.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/error.hpp"
#include "launch/option_checks.hpp"

namespace tally {

void PlacementWords::add_to(CLI::App& command) {
  command.add_option("--cluster", cluster, "The hosts, as `tally topology` describes them, in a file");
  command.add_option("-n,--ranks", ranks, "Ranks in all (default: one a GPU, or one a memory domain)")
      ->check(whole_number_from(1));
  command.add_option("--ranks-per-node", ranks_per_node, "Ranks on each host")->check(whole_number_from(1));
}

PlacementRequest PlacementWords::request(const Cluster& on, const std::string& device, int threads) const {
  const bool all_have_gpus =
      std::all_of(on.nodes.begin(), on.nodes.end(), [](const Node& node) { return !node.gpus.empty(); });
  PlacementRequest request;
  request.gpus_welcome = device == "auto";
  request.gpus = device == "cuda" || (request.gpus_welcome && all_have_gpus);
  request.ranks = ranks;
  request.ranks_per_node = ranks_per_node;
  request.threads = threads;
  return request;
}

std::string read_text(const std::string& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in || std::filesystem::is_directory(file)) throw DataError(file + " cannot be read");
  return text.str();
}

Cluster read_cluster(const std::string& file) { return parse_cluster(read_text(file), file); }

}  // namespace tally
