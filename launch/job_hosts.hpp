#pragma once
#include <chrono>
#include <string>
#include <vector>

#include "launch/cluster/cluster.hpp"
#include "launch/cluster/hosts.hpp"
#include "launch/cluster/placement.hpp"
#include "launch/cluster/start_line.hpp"
#include "launch/cluster/supervisor.hpp"

namespace tally {

// What `tally launch` is told of the hosts; empty: not told.
struct HostWords {
  std::string hosts, hostfile;
  std::string mpirun;
  std::string cluster;   // file that describes them
  bool verbose = false;  // prints the commands that look at them
};

// The hosts of a job, and what starts its ranks there: mpirun, or srun in an allocation.
class JobHosts {
 public:
  // Looks at the hosts. Throws Interrupted, UsageError, DataError or CommunicationError.
  explicit JobHosts(const HostWords& words);

  const Cluster& cluster() const noexcept { return cluster_; }
  const StartRequest& request() const noexcept { return request_; }
  bool by_slurm() const noexcept { return request_.starter == Starter::slurm; }

  // Goes on with the hosts on which a process can still be started. Returns how many ranks of the placement ran on those; 0 where
  // there is nothing to choose. Throws CommunicationError where none is left.
  int drop_lost(const Placement& placement);

 private:
  void find_hosts();
  void find_starter();
  void check_srun();
  void check_mpirun();
  void read_nodes();
  void name_nodes_as_asked();
  void warn_of_shared_nodes() const;
  void keep_only_hosts();
  Output look(const std::vector<std::string>& hosts, const std::string& command, std::chrono::seconds at_most) const;

  const HostWords words_;
  std::vector<Host> hosts_;  // empty: this host
  StartRequest request_;
  Cluster cluster_;
};

}  // namespace tally
