#include "launch/cluster/topology.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwloc.h>

#include <string>
#include <thread>

#include "core/error.hpp"
#include "launch/cluster/cpu_list.hpp"

namespace tally {
namespace {

using testing::HasSubstr;

// What lstopo would record of a machine of hwloc's own making.
std::string recorded(const char* description) {
  hwloc_topology_t topology = nullptr;
  hwloc_topology_init(&topology);
  hwloc_topology_set_synthetic(topology, description);
  hwloc_topology_load(topology);
  char* text = nullptr;
  int length = 0;
  hwloc_topology_export_xmlbuffer(topology, &text, &length, 0);
  std::string xml(text);
  hwloc_free_xmlbuffer(topology, text);
  hwloc_topology_destroy(topology);
  return xml;
}

TEST(Topology, CoresAndMemoryOfEachDomain) {
  const Node node = Topology::from_xml(recorded("Package:2 NUMANode:1(memory=2GiB) Core:3 PU:2")).describe("a", {});
  ASSERT_EQ(node.domains.size(), 2U);
  EXPECT_EQ(format_cpu_list(node.domains[0].cores), "0,2,4");
  EXPECT_EQ(format_cpu_list(node.domains[1].cores), "6,8,10");
  EXPECT_EQ(node.domains[1].memory_bytes, Index{2} << 30);
  EXPECT_EQ(node.core_count(), 6);
}

TEST(Topology, AProcessorBelongsToACore) {
  const Topology topology = Topology::from_xml(recorded("Package:2 NUMANode:1 Core:2 PU:2"));
  EXPECT_EQ(format_cpu_list(topology.cores()), "0,2,4,6");
  EXPECT_EQ(format_cpu_list(topology.cores_of({3, 4, 5})), "2,4");
}

TEST(Topology, TheWholeHostIsWholeWhateverAThreadIsBoundTo) {
  const std::vector<int> all = Topology::whole_host().cores();
  std::thread([&] {
    Topology().bind({Topology::bound_to().back()});
    EXPECT_EQ(Topology::whole_host().cores(), all);
    EXPECT_EQ(Topology::whole_host().cores_of(Topology::bound_to()).size(), 1U);
  }).join();
}

TEST(Topology, AGpuThatTheTopologyDoesNotKnowIsNearNoDomain) {
  const Topology topology = Topology::from_xml(recorded("NUMANode:1 Core:2 PU:1"));
  EXPECT_EQ(topology.describe("a", {{0, "0000:01:00.0", "GPU", 1, 0}}).gpus.front().domain, -1);
}

TEST(Topology, AGpuIsNearTheMemoryOfItsBus) {
  std::string xml = recorded("Package:2 NUMANode:1 Core:2 PU:1");
  const std::string bus =
      R"(<object type="Bridge" gp_index="900" bridge_type="0-1" depth="0" bridge_pci="0000:[90-9f]">)"
      R"(<object type="PCIDev" gp_index="901" pci_busid="0000:9d:00.0" pci_type="0302 [10de:2330] [10de:16c1] a1" )"
      R"(pci_link_speed="0.000000"/></object>)";
  const auto end_of_last_package = xml.rfind("</object>", xml.rfind("</object>") - 1);
  xml.insert(end_of_last_package, bus);
  const Node node = Topology::from_xml(xml).describe("a", {{0, "0000:9d:00.0", "GPU", 1, -1}, {1, "0000:1b:00.0", "", 1, -1}});
  EXPECT_EQ(node.gpus[0].domain, 1);
  EXPECT_EQ(node.gpus[1].domain, -1);
}

TEST(Topology, RefusesWhatIsNoXml) { EXPECT_THROW(Topology::from_xml("<nothing/>"), DataError); }

TEST(Topology, ThisHostHasTheCoresOfThisProcess) {
  const Node node = Topology().describe("this", {});
  EXPECT_GE(node.core_count(), 1);
  ASSERT_FALSE(node.domains.empty());
  EXPECT_GT(node.domains[0].memory_bytes, 0);
  EXPECT_LE(node.core_count(), static_cast<int>(Topology::bound_to().size()));
}

TEST(Topology, BindsThisThreadAndThoseItMakes) {
  const std::vector<int> all = Topology::bound_to();
  std::thread([&] {
    const Topology topology;
    topology.bind({all.back()});
    std::vector<int> child;
    std::thread([&] { child = Topology::bound_to(); }).join();
    EXPECT_EQ(child, std::vector<int>{all.back()});
    try {
      topology.bind({all.back(), 4095});
      ADD_FAILURE() << "bound to a processor that is not there";
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr("may not run on processors"));
      EXPECT_THAT(error.what(), HasSubstr("4095"));
    }
  }).join();
}

}  // namespace
}  // namespace tally
