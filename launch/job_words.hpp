#pragma once
#include <span>
#include <string>
#include <vector>

namespace tally {

// The words of the command that `tally launch` starts.
using JobWords = std::span<const std::string>;

// The value of an option; empty where it is not there.
std::string value_of(JobWords job, const std::string& option);
bool resumes(JobWords job);

// What looks at the ranks of a job in its place: `tally preflight`.
std::vector<std::string> preflight_of(JobWords job);

}  // namespace tally
