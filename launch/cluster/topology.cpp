#include "launch/cluster/topology.hpp"

#include <hwloc.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "core/error.hpp"
#include "launch/cluster/cpu_list.hpp"

namespace tally {
namespace {

struct FreeBitmap {
  void operator()(hwloc_bitmap_s* bitmap) const noexcept { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, FreeBitmap>;

Bitmap empty_bitmap() { return Bitmap(hwloc_bitmap_alloc()); }

void check(int status, const char* what) {
  if (status < 0) throw DataError(std::string("hwloc cannot ") + what + ": " + std::strerror(errno));
}

hwloc_topology* initialised() {
  hwloc_topology* topology = nullptr;
  check(hwloc_topology_init(&topology), "start");
  hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  return topology;
}

// Null where hwloc knows of none.
const hwloc_obj* core_of(hwloc_topology* topology, int processor) {
  const hwloc_obj* core = hwloc_get_pu_obj_by_os_index(topology, static_cast<unsigned>(processor));
  while (core && core->type != HWLOC_OBJ_CORE) core = core->parent;
  return core;
}

// The first processor of each core that is near a memory domain.
std::vector<int> cores_near(hwloc_topology* topology, hwloc_const_cpuset_t near) {
  std::vector<int> cores;
  Bitmap seen = empty_bitmap();
  int processor = -1;
  while ((processor = hwloc_bitmap_next(near, processor)) >= 0) {
    if (hwloc_bitmap_isset(seen.get(), static_cast<unsigned>(processor))) continue;
    cores.push_back(processor);
    if (const hwloc_obj* core = core_of(topology, processor)) hwloc_bitmap_or(seen.get(), seen.get(), core->cpuset);
  }
  return cores;
}

}  // namespace

void Topology::Close::operator()(hwloc_topology* topology) const noexcept { hwloc_topology_destroy(topology); }

Topology::Topology() : handle_(initialised()) {
  check(hwloc_topology_load(handle_.get()), "read the topology of this host");
  const Bitmap allowed = empty_bitmap();
  if (hwloc_get_cpubind(handle_.get(), allowed.get(), HWLOC_CPUBIND_THREAD) == 0)
    hwloc_topology_restrict(handle_.get(), allowed.get(), 0);
}

Topology Topology::whole_host() {
  Handle handle(initialised());
  check(hwloc_topology_load(handle.get()), "read the topology of this host");
  return Topology(std::move(handle));
}

Topology Topology::from_xml(const std::string& text) {
  Handle handle(initialised());
  check(hwloc_topology_set_xmlbuffer(handle.get(), text.c_str(), static_cast<int>(text.size()) + 1), "read this XML");
  check(hwloc_topology_load(handle.get()), "read the topology in this XML");
  return Topology(std::move(handle));
}

Node Topology::describe(std::string name, std::vector<Gpu> gpus) const {
  Node node;
  node.name = std::move(name);
  for (hwloc_obj* memory = nullptr; (memory = hwloc_get_next_obj_by_type(handle_.get(), HWLOC_OBJ_NUMANODE, memory));) {
    std::vector<int> cores = cores_near(handle_.get(), memory->cpuset);
    if (!cores.empty())
      node.domains.push_back({std::move(cores), static_cast<Index>(memory->attr->numanode.local_memory)});
  }
  for (Gpu& gpu : gpus) gpu.domain = domain_near(gpu.identity);
  node.gpus = std::move(gpus);
  return node;
}

int Topology::domain_near(const std::string& bus_id) const {
  hwloc_obj* const device = hwloc_get_pcidev_by_busidstring(handle_.get(), bus_id.c_str());
  if (!device) return -1;
  const hwloc_obj* const near = hwloc_get_non_io_ancestor_obj(handle_.get(), device);
  int domain = 0;
  for (hwloc_obj* memory = nullptr; (memory = hwloc_get_next_obj_by_type(handle_.get(), HWLOC_OBJ_NUMANODE, memory));) {
    if (cores_near(handle_.get(), memory->cpuset).empty()) continue;
    // One attached to the machine as a whole is near no domain in particular, unless there is but one.
    if (hwloc_bitmap_isincluded(near->cpuset, memory->cpuset)) return domain;
    ++domain;
  }
  return -1;
}

std::vector<int> Topology::cores() const {
  return cores_near(handle_.get(), hwloc_topology_get_topology_cpuset(handle_.get()));
}

std::vector<int> Topology::cores_of(const std::vector<int>& processors) const {
  std::set<int> cores;
  for (const int processor : processors) {
    const hwloc_obj* core = core_of(handle_.get(), processor);
    cores.insert(core ? hwloc_bitmap_first(core->cpuset) : processor);
  }
  return {cores.begin(), cores.end()};
}

std::string Topology::bind(const std::vector<int>& processors) const {
  const Bitmap set = empty_bitmap(), memory = empty_bitmap();
  for (const int processor : processors) hwloc_bitmap_set(set.get(), static_cast<unsigned>(processor));
  if (!hwloc_bitmap_isincluded(set.get(), hwloc_topology_get_topology_cpuset(handle_.get())) ||
      hwloc_set_cpubind(handle_.get(), set.get(), HWLOC_CPUBIND_THREAD) < 0)
    throw UsageError("this process may not run on processors " + format_cpu_list(processors) + ", only on " +
                     format_cpu_list(bound_to()));
  hwloc_cpuset_to_nodeset(handle_.get(), set.get(), memory.get());
  const int flags = HWLOC_MEMBIND_BYNODESET | HWLOC_MEMBIND_THREAD;
  if (hwloc_set_membind(handle_.get(), memory.get(), HWLOC_MEMBIND_BIND, flags) < 0) return std::strerror(errno);
  return "";
}

std::vector<int> Topology::bound_to() {
  std::vector<int> processors;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return processors;
  for (int processor = 0; processor < CPU_SETSIZE; ++processor)
    if (CPU_ISSET(processor, &allowed)) processors.push_back(processor);
  return processors;
}

}  // namespace tally
