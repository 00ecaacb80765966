#include "launch/cluster/placement.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "core/error.hpp"
#include "launch/cluster/cpu_list.hpp"
#include "launch/cluster/this_host.hpp"
#include "tests/unit/temporary_folder.hpp"

namespace tally {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Cluster recorded(const std::string& name) {
  const std::string path = TALLY_TEST_DATA "/clusters/" + name + ".json";
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return parse_cluster(text.str(), path);
}

Cluster one_node(const std::string& json) { return parse_cluster(R"({"nodes": [)" + json + "]}", "the test"); }

std::vector<std::string> cores_of(const Placement& placement) {
  std::vector<std::string> lists;
  for (const RankPlace& place : placement.ranks) lists.push_back(format_cpu_list(place.cores));
  return lists;
}

std::string message_of(const Cluster& cluster, const PlacementRequest& request) {
  try {
    place_ranks(cluster, request);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

// What must hold of any placement: ranks in the order of nodes, no core bound twice, GPUs of a node in order.
void check(const Cluster& cluster, const Placement& placement) {
  std::set<std::pair<int, int>> cores, gpus;
  int node = -1, local = 0;
  for (const RankPlace& place : placement.ranks) {
    local = place.node == node ? local + 1 : 0;
    EXPECT_GE(place.node, node);
    EXPECT_EQ(place.local_rank, local);
    node = place.node;
    ASSERT_LT(node, static_cast<int>(cluster.nodes.size()));
    for (const int core : place.cores) EXPECT_TRUE(cores.insert({node, core}).second) << "node " << node << " core " << core;
    EXPECT_TRUE(place.gpu < 0 || gpus.insert({node, place.gpu}).second);
    EXPECT_FALSE(place.domains.empty());
  }
}

TEST(Placement, OneRankForEachGpuOnTheCoresNearIt) {
  const Cluster cluster = recorded("gpu_nodes");
  PlacementRequest request;
  request.gpus = true;
  const Placement placement = place_ranks(cluster, request);
  check(cluster, placement);
  ASSERT_EQ(placement.ranks.size(), 32U);
  EXPECT_EQ(format_cpu_list(placement.ranks[0].cores), "0-11");
  EXPECT_EQ(format_cpu_list(placement.ranks[7].cores), "84-95");
  EXPECT_EQ(placement.ranks[12].node, 1);
  EXPECT_EQ(placement.ranks[12].gpu, 4);
  EXPECT_THAT(placement.ranks[12].domains, ElementsAre(1));
  EXPECT_THAT(placement.warnings, IsEmpty());
}

TEST(Placement, OneRankForEachMemoryDomain) {
  const Cluster cluster = recorded("two_sockets");
  const Placement placement = place_ranks(cluster, {});
  check(cluster, placement);
  ASSERT_EQ(placement.ranks.size(), 16U);
  EXPECT_EQ(format_cpu_list(placement.ranks[3].cores), "32-63");
  EXPECT_EQ(placement.threads_of(3), 32);
}

TEST(Placement, RanksOfANodeShareItsDomainsByTheirCores) {
  const Cluster cluster = recorded("uneven");
  PlacementRequest request;
  request.ranks_per_node = 4;
  request.threads = 5;
  const Placement placement = place_ranks({{cluster.nodes[0]}}, request);
  check(cluster, placement);
  EXPECT_THAT(cores_of(placement), ElementsAre("0-4", "8-12", "16-20", "24-28"));
}

TEST(Placement, FewerRanksThanDomainsTakeSeveral) {
  PlacementRequest request;
  request.ranks_per_node = 1;
  const Cluster cluster = recorded("two_sockets");
  const Placement placement = place_ranks(cluster, request);
  check(cluster, placement);
  EXPECT_EQ(placement.threads_of(0), 64);
  EXPECT_THAT(placement.ranks[0].domains, ElementsAre(0, 1));
}

TEST(Placement, UnevenNodesAndSlots) {
  const Cluster cluster = recorded("uneven");
  const Placement placement = place_ranks(cluster, {});
  check(cluster, placement);
  EXPECT_THAT(placement.ranks_of_nodes(cluster), ElementsAre(2, 1, 1));
  PlacementRequest request;
  request.ranks_per_node = 2;
  EXPECT_THAT(message_of(cluster, request), HasSubstr("2 ranks on node gpu, where the allocation has room for 1"));
}

TEST(Placement, AGpuWhoseMemoryDomainIsNotKnownTakesItsShareOfAll) {
  Cluster cluster = recorded("uneven");
  cluster.nodes = {cluster.nodes[2]};
  cluster.nodes[0].most_ranks = 0;
  cluster.nodes[0].gpus[0].domain = -1;
  PlacementRequest request;
  request.gpus = true;
  const Placement placement = place_ranks(cluster, request);
  check(cluster, placement);
  EXPECT_THAT(cores_of(placement), ElementsAre("0-15", "32-47"));
}

TEST(Placement, SoManyRanksInAll) {
  const Cluster cluster = recorded("two_sockets");
  PlacementRequest request;
  request.ranks = 3;
  Placement placement = place_ranks(cluster, request);
  EXPECT_THAT(placement.ranks_of_nodes(cluster), ElementsAre(2, 1, 0, 0, 0, 0, 0, 0));
  EXPECT_EQ(placement.threads_of(2), 64);
  EXPECT_THAT(placement.warnings, ElementsAre("node cpu2 and 5 more have no rank"));
  request.ranks = 24;
  placement = place_ranks(cluster, request);
  check(cluster, placement);
  EXPECT_THAT(placement.ranks_of_nodes(cluster), ElementsAre(3, 3, 3, 3, 3, 3, 3, 3));
}

TEST(Placement, ManyRanksAreSpreadByCoresWithinTheSlots) {
  Cluster cluster = recorded("uneven");  // of 32, 4 and 32 cores; one slot on the last
  PlacementRequest request;
  request.ranks = 10;
  Placement placement = place_ranks(cluster, request);
  check(cluster, placement);
  EXPECT_THAT(placement.ranks_of_nodes(cluster), ElementsAre(9, 0, 1));
  for (Node& node : cluster.nodes) node.most_ranks = 3;
  request.ranks = 9;
  EXPECT_THAT(place_ranks(cluster, request).ranks_of_nodes(cluster), ElementsAre(3, 3, 3));
  request.ranks = 10;
  EXPECT_THAT(message_of(cluster, request), HasSubstr("10 ranks were asked for and there is room for 9"));
}

TEST(Placement, MoreRanksThanCoresAreBoundToNone) {
  const Cluster cluster = one_node(R"({"name": "laptop", "domains": [{"cores": "0-1"}]})");
  PlacementRequest request;
  request.ranks = 4;
  const Placement placement = place_ranks(cluster, request);
  EXPECT_THAT(cores_of(placement), ElementsAre("", "", "", ""));
  EXPECT_THAT(placement.warnings, ElementsAre("node laptop has 4 ranks on 2 cores, which share and wait for each other"));
}

TEST(Placement, RefusesMoreRanksThanGpus) {
  const Cluster cluster = recorded("gpu_nodes");
  PlacementRequest request;
  request.gpus = true;
  request.ranks = 33;
  EXPECT_THAT(message_of(cluster, request), HasSubstr("33 ranks were asked for and there is room for 32"));
  request = {true, 9, 0, 0};
  EXPECT_THAT(message_of(cluster, request), HasSubstr("9 ranks on node gpu0, which has 8 usable GPUs"));
  EXPECT_THAT(message_of(recorded("two_sockets"), {true, 0, 0, 0}), HasSubstr("node cpu0 has no usable GPU"));
}

TEST(Placement, GpusThatAreHiddenAreNamedWhereTheJobWantsSome) {
  Cluster cluster = recorded("gpu_nodes");
  for (const std::size_t n : {1, 3}) {
    cluster.nodes[n].gpus.resize(6);
    cluster.nodes[n].hidden_gpus = {"0000:d1:00.0", "0000:df:00.0"};
  }
  PlacementRequest request;
  EXPECT_THAT(place_ranks(cluster, request).warnings, IsEmpty());
  request.gpus_welcome = true;
  const auto hidden = HasSubstr("hides GPUs of node gpu1 and 1 more: 0000:d1:00.0, 0000:df:00.0");
  EXPECT_THAT(place_ranks(cluster, request).warnings, ElementsAre(hidden));
  request.gpus = true;
  EXPECT_THAT(place_ranks(cluster, request).warnings, ElementsAre(hidden));
  cluster.nodes[1].gpus.clear();
  EXPECT_THAT(message_of(cluster, request), HasSubstr("node gpu1 has no usable GPU: CUDA_VISIBLE_DEVICES, the allocation or"));
}

TEST(Placement, GpusThatAreNumberedOtherwiseThanTheirBusesAreNamed) {
  Cluster cluster = recorded("gpu_nodes");
  std::swap(cluster.nodes[2].gpus[0].identity, cluster.nodes[2].gpus[7].identity);
  cluster.nodes[3].gpus[7].identity = "0000:DF:00.0";  // as CUDA writes it
  PlacementRequest request;
  EXPECT_THAT(place_ranks(cluster, request).warnings, IsEmpty());
  request.gpus = true;
  EXPECT_THAT(place_ranks(cluster, request).warnings,
              ElementsAre(HasSubstr("CUDA does not number the GPUs of node gpu2 in the order of their buses")));
}

TEST(Placement, AThousandNodes) {
  Cluster cluster;
  const Node node = recorded("gpu_nodes").nodes[0];
  for (int i = 0; i < 1000; ++i) {
    cluster.nodes.push_back(node);
    cluster.nodes.back().name = "n" + std::to_string(i);
  }
  PlacementRequest request;
  request.gpus = true;
  const Placement placement = place_ranks(cluster, request);
  EXPECT_EQ(placement.ranks.size(), 8000U);
  check(cluster, placement);
}

TEST(Cluster, ReadsWhatItWrites) {
  for (const char* name : {"gpu_nodes", "two_sockets", "uneven"}) {
    const std::string text = to_json(recorded(name));
    EXPECT_EQ(to_json(parse_cluster(text, "itself")), text);
  }
}

TEST(Placement, NodesOfDifferentMpiLibrariesAreNamed) {
  Cluster cluster = recorded("uneven");
  cluster.nodes[0].mpi = "Open MPI 4.1.4";
  cluster.nodes[1].mpi = "Open MPI 5.0.3";
  EXPECT_THAT(place_ranks(cluster, {}).warnings, ElementsAre(HasSubstr("ranks of different MPI libraries")));
}

TEST(Cluster, HiddenGpusAndTheMpiLibraryAreWritten) {
  Cluster cluster = recorded("uneven");
  cluster.nodes[1].hidden_gpus = {"0000:1b:00.0"};
  cluster.nodes[1].mpi = "Open MPI 4.1.4";
  const Node read = parse_cluster(to_json(cluster), "itself").nodes[1];
  EXPECT_EQ(read.hidden_gpus, cluster.nodes[1].hidden_gpus);
  EXPECT_EQ(read.mpi, cluster.nodes[1].mpi);
}

TEST(ThisHost, GpusOfTheDriverThatCudaDoesNotShowAreHidden) {
  const TemporaryFolder driver;
  for (const char* gpu : {"0000:df:00.0", "0000:1b:00.0", "0000:43:00.0"}) std::filesystem::create_directory(driver.path() / gpu);
  EXPECT_THAT(hidden_gpus(driver.path(), {"0000:43:00.0", "0000:DF:00.0"}), ElementsAre("0000:1b:00.0"));
  EXPECT_THAT(hidden_gpus(driver.path(), {}), ElementsAre("0000:1b:00.0", "0000:43:00.0", "0000:df:00.0"));
  EXPECT_THAT(hidden_gpus(driver.path() / "none", {}), IsEmpty());
}

TEST(Cluster, RefusesWhatIsNone) {
  const auto refusal = [](const std::string& text) -> std::string {
    try {
      parse_cluster(text, "c.json");
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal("{"), HasSubstr("c.json does not describe a cluster"));
  EXPECT_THAT(refusal(R"({"nodes": []})"), HasSubstr("no nodes"));
  EXPECT_THAT(refusal(R"({"nodes": [{"name": "a", "domains": [{"cores": "0-1"}, {"cores": "1"}]}]})"),
              HasSubstr("core 1 twice"));
  EXPECT_THAT(refusal(R"({"nodes": [{"name": "a", "domains": []}]})"), HasSubstr("no cores"));
  EXPECT_THAT(refusal(R"({"nodes": [{"name": "a", "domains": [{"cores": ""}]}]})"), HasSubstr("without cores"));
  EXPECT_THAT(refusal(R"({"nodes": [{"name": "a", "domains": [{"cores": "3-1"}]}]})"), HasSubstr("'3-1' is no list"));
  EXPECT_THAT(refusal(R"({"nodes": [{"name": "a", "count": 0, "domains": [{"cores": "0"}]}]})"), HasSubstr("0 nodes"));
  EXPECT_THAT(refusal(R"({"nodes": [{"name": "a", "domains": [{"cores": "0"}]}, {"name": "a", "domains": [{"cores": "0"}]}]})"),
              HasSubstr("two nodes are called a"));
  EXPECT_THAT(refusal(R"({"nodes": [{"name": "a", "domains": [{"cores": "0"}], "gpus": [{"number": 0, "domain": 1}]}]})"),
              HasSubstr("at memory domain 1, of 1"));
  EXPECT_THAT(refusal(R"({"nodes": [{"name": "a", "count": 4294967297, "domains": [{"cores": "0"}]}]})"), HasSubstr("far too large"));
  EXPECT_THAT(refusal(R"({"nodes": [{"name": "a", "domains": [{"cores": "0", "memory_bytes": 1e99}]}]})"), HasSubstr("1e+99 is no whole number"));
  EXPECT_THAT(refusal(R"({"nodes": [{"name": "a", "count": 65536, "domains": [{"cores": "0-8191"}]}]})"), HasSubstr("cores are more than"));
}

TEST(CpuList, RunsAndSingles) {
  EXPECT_EQ(format_cpu_list({9, 0, 1, 2, 4, 5}), "0-2,4-5,9");
  EXPECT_EQ(format_cpu_list({}), "");
  EXPECT_THAT(parse_cpu_list("0-2,9"), ElementsAre(0, 1, 2, 9));
  EXPECT_THAT(parse_cpu_list(""), IsEmpty());
  for (const char* text : {"a", "1-", "-1", "1,,2", "1-99999999999", "0x1", "0-60000,0-60000"})
    EXPECT_THROW(parse_cpu_list(text), UsageError) << text;
}

}  // namespace
}  // namespace tally
