#include "launch/cluster/start_line.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "core/error.hpp"
#include "launch/cluster/hosts.hpp"
#include "launch/cluster/slurm_step.hpp"

namespace tally {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;
using testing::UnorderedElementsAre;

Cluster two_nodes() {
  return parse_cluster(R"({"nodes": [{"name": "a", "domains": [{"cores": "0-3"}]}, {"name": "b", "domains": [{"cores": "0-1"}]}]})",
                       "the test");
}

Placement placed(int ranks_per_node) {
  PlacementRequest request;
  request.ranks_per_node = ranks_per_node;
  return place_ranks(two_nodes(), request);
}

Placement uneven() {
  Cluster cluster = two_nodes();
  cluster.nodes[1].most_ranks = 1;
  Placement placement = placed(2);
  placement.ranks.pop_back();
  return placement;
}

const std::vector<std::string> job = {"/opt/tally", "fit", "it's"};

TEST(StartLine, OpenMpiAcrossHosts) {
  StartRequest request;
  request.forwarded = {"PATH"};
  const StartLine line = start_line(two_nodes(), placed(2), request, job);
  EXPECT_EQ(quoted(line.words),
            "mpirun -H a,a,b,b -n 4 --map-by seq:OVERSUBSCRIBE --bind-to none -x PATH -x TALLY_BINDING /opt/tally fit "
            "'it'\\''s'");
  EXPECT_THAT(line.environment, UnorderedElementsAre(testing::Pair("TALLY_BINDING", "0-1;2-3/0;1"),
                                                     testing::Pair("OMPI_MCA_oob_tcp_keepalive_time", "10"),
                                                     testing::Pair("OMPI_MCA_oob_tcp_keepalive_intvl", "5"),
                                                     testing::Pair("OMPI_MCA_oob_tcp_keepalive_probes", "3")));
}

TEST(StartLine, EveryVariableIsPassedOnOnce) {
  StartRequest request;
  request.forwarded = {"PATH", binding_variable};
  EXPECT_THAT(quoted(start_line(two_nodes(), placed(2), request, job).words), HasSubstr(" -x PATH -x TALLY_BINDING /opt/tally"));
}

TEST(StartLine, OnThisHostAsRoot) {
  StartRequest request;
  request.local = request.as_root = true;
  const StartLine line = start_line({{two_nodes().nodes[0]}}, place_ranks({{two_nodes().nodes[0]}}, {}), request, job);
  EXPECT_THAT(quoted(line.words), Not(HasSubstr("-H")));
  EXPECT_THAT(quoted(line.words), HasSubstr(" --map-by slot:OVERSUBSCRIBE "));
  EXPECT_FALSE(line.environment.contains("OMPI_MCA_oob_tcp_keepalive_time"));
  EXPECT_EQ(line.environment.at("OMPI_ALLOW_RUN_AS_ROOT"), "1");
  EXPECT_EQ(line.environment.at("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"), "1");
}

TEST(StartLine, Mpich) {
  StartRequest request;
  request.starter = Starter::mpich;
  EXPECT_THAT(quoted(start_line(two_nodes(), uneven(), request, job).words),
              HasSubstr("mpirun -hosts a:2,b:1 -n 3 -bind-to none /opt/tally"));
}

TEST(StartLine, SlurmWithAsManyRanksOnEachNode) {
  StartRequest request;
  request.starter = Starter::slurm;
  request.program = "srun";
  const StartLine line = start_line(two_nodes(), placed(2), request, job);
  EXPECT_EQ(quoted(line.words),
            "srun --mpi=pmix --kill-on-bad-exit=1 --export=ALL --cpu-bind=none --overcommit --overlap --ntasks=4 --nodes=2 "
            "--ntasks-per-node=2 --distribution=block --nodelist=a,b /opt/tally fit 'it'\\''s'");
}

TEST(StartLine, SlurmWithUnevenNodes) {
  StartRequest request;
  request.starter = Starter::slurm;
  request.program = "srun";
  const StartLine line = start_line(two_nodes(), uneven(), request, job);
  EXPECT_THAT(quoted(line.words), StartsWith("env -u SLURM_NTASKS_PER_NODE srun "));
  EXPECT_THAT(quoted(line.words), HasSubstr("--ntasks=3 --nodes=2 --distribution=arbitrary --nodelist=a,a,b /opt/tally"));
}

TEST(StartLine, OneRankOnEachHostToLookAtIt) {
  const StartLine line = start_on_each_host({"a", "b"}, {}, {"tally", "topology"});
  EXPECT_THAT(quoted(line.words), HasSubstr("-H a,b -n 2 "));
  EXPECT_FALSE(line.environment.contains("TALLY_BINDING"));
}

// A word or a variable of 128 KiB cannot be given to a program.
TEST(StartLine, ManyNodesAlike) {
  constexpr int nodes = 1000, cores = 128;
  Node node;
  node.domains.resize(2);
  for (int core = 0; core < cores; ++core) node.domains[core % 2 == 0 ? 0 : 1].cores.push_back(core);
  Cluster cluster;
  for (int n = 0; n < nodes; ++n) {
    cluster.nodes.push_back(node);
    cluster.nodes.back().name = "node-with-a-long-name-" + std::to_string(n);
  }
  for (const int ranks_per_node : {2, 8}) {
    PlacementRequest request;
    request.ranks_per_node = ranks_per_node;
    const Placement placement = place_ranks(cluster, request);
    const StartLine line = start_line(cluster, placement, {}, job);
    for (const std::string& word : line.words) EXPECT_LT(word.size(), std::size_t{1} << 17);
    const std::string& binding = line.environment.at(binding_variable);
    EXPECT_LT(binding.size(), 1000U);
    std::string hosts;
    for (std::size_t i = 0; i + 1 < line.words.size(); ++i)
      if (line.words[i] == "-H") hosts += line.words[i + 1] + ",";
    EXPECT_EQ(std::count(hosts.begin(), hosts.end(), ','), nodes * ranks_per_node);
    for (const int rank : {0, 1, ranks_per_node, nodes * ranks_per_node - 1})
      EXPECT_EQ(cores_of_rank(binding, rank), placement.ranks[static_cast<std::size_t>(rank)].cores);
    EXPECT_THAT(cores_of_rank(binding, nodes * ranks_per_node), IsEmpty());
  }
}

TEST(StartLine, CoresOfEveryRank) {
  Placement placement;
  placement.ranks = {{0, 0, {0, 1}, {}, -1}, {0, 1, {2}, {}, -1}, {1, 0, {0, 1}, {}, -1}, {1, 1, {2}, {}, -1},
                     {2, 0, {}, {}, -1},     {2, 1, {}, {}, -1},  {3, 0, {}, {}, -1},     {4, 0, {7}, {}, -1}};
  const std::string binding = binding_of(placement);
  EXPECT_EQ(binding, "0-1;2*2/;//7");
  for (std::size_t rank = 0; rank < placement.ranks.size(); ++rank)
    EXPECT_EQ(cores_of_rank(binding, static_cast<int>(rank)), placement.ranks[rank].cores) << rank;
  EXPECT_THAT(cores_of_rank("3;5", 1), ElementsAre(5));
  for (const char* text : {"0*", "0*x", "0*0", "0*-1", "0*2x", "x"}) EXPECT_THROW(cores_of_rank(text, 0), UsageError) << text;
}

TEST(Hosts, Lists) {
  EXPECT_THAT(parse_hosts("a,b:4,10.0.0.1:2"), ElementsAre(Host{"a", 0}, Host{"b", 4}, Host{"10.0.0.1", 2}));
  EXPECT_THAT(parse_hostfile("# hosts\na slots=4\n\n  b:2  # two\nc\n"), ElementsAre(Host{"a", 4}, Host{"b", 2}, Host{"c", 0}));
  EXPECT_THAT(parse_hostfile("  a slots = 2\r\nb max_slots=4\tslots =3 max-slots= 8\n"), ElementsAre(Host{"a", 2}, Host{"b", 3}));
  EXPECT_THAT(parse_slurm_nodes("gpu[08-10,3]-x,login,n[1-2]"),
              ElementsAre(Host{"gpu08-x", 0}, Host{"gpu09-x", 0}, Host{"gpu10-x", 0}, Host{"gpu3-x", 0}, Host{"login", 0},
                          Host{"n1", 0}, Host{"n2", 0}));
}

TEST(Hosts, NumbersOfSlurmsNodes) {
  for (int node = 0; node < 6; ++node)
    EXPECT_EQ(slurm_number_of_node("48(x2),2,16(x2)", node), (std::array{48, 48, 2, 16, 16, 0})[static_cast<std::size_t>(node)]);
  EXPECT_EQ(slurm_number_of_node("", 0), 0);
}

TEST(Hosts, Refusals) {
  for (const char* text : {"", ",", "a,,b", "a:0", "a:x", "a:-1", "a,a", "-x", "a:99999999999", "a, b"})
    EXPECT_THROW(parse_hosts(text), UsageError) << text;
  for (const char* text :
       {"", "# nothing\n", "a slots=no\n", "a\na\n", "a b\n", "a 4\n", "a slot=4\n", "a slots\n"})
    EXPECT_THROW(parse_hostfile(text), UsageError) << text;
  for (const char* text : {"", "a[1-2", "a[]", "a[2-1]", "a[x]", "a[0-9999999]", "a[1],a1"})
    EXPECT_THROW(parse_slurm_nodes(text), UsageError) << text;
}

}  // namespace
}  // namespace tally
