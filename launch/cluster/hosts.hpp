#pragma once
#include <string>
#include <vector>

namespace tally {

// A host of a job and the ranks that it may take; 0: any number.
struct Host {
  std::string name;
  int slots = 0;

  friend bool operator==(const Host&, const Host&) = default;
};

// "a,b:4": --hosts. Throws UsageError: an empty name, a host twice, slots that are no number.
std::vector<Host> parse_hosts(const std::string& text);
// A host a line: "name", "name slots=4", "name:4"; # begins a comment. Throws UsageError.
std::vector<Host> parse_hostfile(const std::string& text);
// Slurm's "gpu[01-03,7],login": SLURM_JOB_NODELIST. Throws UsageError.
std::vector<Host> parse_slurm_nodes(const std::string& text);

}  // namespace tally
