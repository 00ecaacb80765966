#pragma once
#include <map>
#include <string>
#include <vector>

#include "launch/cluster/cluster.hpp"
#include "launch/cluster/placement.hpp"

namespace tally {

enum class Starter { open_mpi, mpich, slurm };

// A command that starts the ranks of a job, and what it needs in its environment.
struct StartLine {
  std::vector<std::string> words;
  std::map<std::string, std::string> environment;  // set by us, besides what is there
};

struct StartRequest {
  Starter starter = Starter::open_mpi;
  std::string program = "mpirun";      // or srun
  bool local = false;                  // all ranks on this host
  bool as_root = false;
  std::vector<std::string> forwarded;  // variables of this process that the ranks need
};

// The ranks of a placement running `job`, each bound by itself to its cores (binding_variable). A function of its
// arguments alone.
StartLine start_line(const Cluster& cluster, const Placement& placement, const StartRequest& request,
                     const std::vector<std::string>& job);
// One rank on each host, bound to nothing.
StartLine start_on_each_host(const std::vector<std::string>& hosts, const StartRequest& request,
                             const std::vector<std::string>& job);

// The cores of all ranks, in order, as "0-3;4-7*2/0-3": two nodes of two ranks each, then one of one. Each rank binds itself to
// its own when it starts. Nodes in a row that are alike are written once: the system takes no variable of 128 KiB.
inline constexpr const char* binding_variable = "TALLY_BINDING";
std::string binding_of(const Placement& placement);
// Empty: none. Throws UsageError where the text is no such list.
std::vector<int> cores_of_rank(const std::string& binding, int rank);

// Set: a rank says what it could not have, but can do without.
inline constexpr const char* verbose_variable = "TALLY_VERBOSE";

// The line as a person would type it.
std::string quoted(const std::vector<std::string>& words);

}  // namespace tally
