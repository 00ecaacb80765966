#pragma once
#include <memory>
#include <string>
#include <vector>

#include "launch/cluster/cluster.hpp"

struct hwloc_topology;

namespace tally {

// The processors and memory of one host, as hwloc finds them.
class Topology {
 public:
  // This host, what this process may run on alone. Throws DataError where hwloc fails.
  Topology();
  // This host with all processors that its jobs may use, whatever this process is bound to. Throws DataError.
  static Topology whole_host();
  // What `lstopo FILE.xml` recorded. Throws DataError.
  static Topology from_xml(const std::string& text);

  // A node of these GPUs; each is given the memory domain that its PCI bus id (Gpu::identity) is attached to.
  Node describe(std::string name, std::vector<Gpu> gpus) const;

  // All cores, and those that these processors belong to, each by the number of its first processor.
  std::vector<int> cores() const;
  std::vector<int> cores_of(const std::vector<int>& processors) const;

  // From here on this thread and those that it makes run on these processors, with memory of the domains near
  // them while these have some left. Throws UsageError where the thread may not run there. Tells why memory is not bound where the system refuses
  // that alone; empty otherwise.
  std::string bind(const std::vector<int>& processors) const;
  // The processors that this thread may run on.
  static std::vector<int> bound_to();

 private:
  struct Close {
    void operator()(hwloc_topology* topology) const noexcept;
  };
  using Handle = std::unique_ptr<hwloc_topology, Close>;
  explicit Topology(Handle handle) : handle_(std::move(handle)) {}
  int domain_near(const std::string& bus_id) const;

  Handle handle_;
};

}  // namespace tally
