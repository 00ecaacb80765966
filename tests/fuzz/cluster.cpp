#include "launch/cluster/cluster.hpp"

#include "tests/fuzz/refusal.hpp"
#include "tests/fuzz/targets.hpp"

namespace tally::fuzz {

void read_cluster(Input json) {
  allow_refusal([&] { to_json(parse_cluster(std::string(text_of(json)), "cluster.json")); });
}

}  // namespace tally::fuzz
