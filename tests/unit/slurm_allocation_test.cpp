#include "launch/cluster/slurm_allocation.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tally {
namespace {

using testing::HasSubstr;

// Two nodes of 32 cores, as a job that Slurm does not confine finds them.
Cluster two_nodes() {
  return parse_cluster(R"({"nodes": [{"name": "n{}", "count": 2, "domains": [{"cores": "0-31"}]}]})", "the test");
}

constexpr const char* with_two_threads = "n0 64 2:16:2\nn1 64 2:16:2\n";
constexpr const char* with_one_thread = "n0 32 2:16:1\nn1 32 2:16:1\n";

TEST(SlurmAllocation, APartOfANodeIsCountedInCores) {
  EXPECT_THAT(shared_node_of(two_nodes(), "n[0-1]", "64,32", with_two_threads), HasSubstr("16 of the 32 cores of node n1"));
  EXPECT_THAT(shared_node_of(two_nodes(), "n[0-1]", "3,64", with_two_threads), HasSubstr("2 of the 32 cores of node n0"));
  EXPECT_THAT(shared_node_of(two_nodes(), "n[0-1]", "16(x2)", with_one_thread), HasSubstr("16 of the 32 cores of node n0"));
}

TEST(SlurmAllocation, AWholeNodeIsNotShared) {
  EXPECT_EQ(shared_node_of(two_nodes(), "n[0-1]", "64(x2)", with_two_threads), "");
  EXPECT_EQ(shared_node_of(two_nodes(), "n[0-1]", "32(x2)", with_one_thread), "");
}

TEST(SlurmAllocation, NorIsOneToWhosePartTheJobIsConfined) {
  Cluster cluster = two_nodes();
  for (Node& node : cluster.nodes) node.domains[0].cores.resize(8);
  EXPECT_EQ(shared_node_of(cluster, "n[0-1]", "16(x2)", with_two_threads), "");
}

TEST(SlurmAllocation, WithoutAWordOfSinfoProcessorsAreCores) {
  EXPECT_THAT(shared_node_of(two_nodes(), "n[0-1]", "16(x2)", "sinfo: error"), HasSubstr("16 of the 32 cores"));
  EXPECT_EQ(shared_node_of(two_nodes(), "n[0-1]", "32(x2)", ""), "");
}

}  // namespace
}  // namespace tally
