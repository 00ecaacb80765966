#include "launch/cluster/slurm_step.hpp"

#include <cstdlib>
#include <sstream>

namespace tally {
namespace {

int number(const char* variable) {
  const char* const text = std::getenv(variable);
  return text ? std::atoi(text) : 0;
}

}  // namespace

int tasks_of_slurm_step() { return number("SLURM_STEP_NUM_TASKS"); }

int task_of_slurm_step() { return tasks_of_slurm_step() > 0 ? number("SLURM_PROCID") : 0; }

int slurm_tasks_on_this_node() {
  const char* const numbers = std::getenv("SLURM_STEP_TASKS_PER_NODE");
  return numbers ? slurm_number_of_node(numbers, number("SLURM_NODEID")) : 0;
}

int slurm_processors_on_this_node() { return number("SLURM_CPUS_ON_NODE"); }

int slurm_number_of_node(const std::string& numbers, int node) {
  std::istringstream parts(numbers);
  for (std::string part; std::getline(parts, part, ',');) {
    const auto times = part.find("(x");
    node -= times == std::string::npos ? 1 : std::atoi(part.c_str() + times + 2);
    if (node < 0) return std::atoi(part.c_str());
  }
  return 0;
}

}  // namespace tally
