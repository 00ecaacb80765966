#pragma once
#include <string>

namespace tally {

// What Slurm says in the environment of a task that srun started.

int tasks_of_slurm_step();  // 0: this process is in none
int task_of_slurm_step();   // its number; 0 where it is in none
int slurm_tasks_on_this_node();
// The processors of this host that the allocation has, which nothing may enforce; 0: not known.
int slurm_processors_on_this_node();

// A node's number in Slurm's "2(x3),1", nodes counted from 0; 0 where it has none.
int slurm_number_of_node(const std::string& numbers, int node);

}  // namespace tally
