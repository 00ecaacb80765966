#pragma once
#include <string>
#include <vector>

namespace tally {

// Numbers of processors as Linux and Slurm write them: "0-3,8" for 0, 1, 2, 3, 8.
std::string format_cpu_list(const std::vector<int>& processors);
// Throws UsageError where the text is no such list.
std::vector<int> parse_cpu_list(const std::string& text);

}  // namespace tally
