#include "launch/job_words.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>

namespace tally {

std::string value_of(JobWords job, const std::string& option) {
  for (std::size_t i = 0; i < job.size(); ++i) {
    if (job[i] == option && i + 1 < job.size()) return job[i + 1];
    if (job[i].starts_with(option + "=")) return job[i].substr(option.size() + 1);
  }
  return "";
}

bool resumes(JobWords job) { return std::find(job.begin(), job.end(), "--resume") != job.end(); }

std::vector<std::string> preflight_of(JobWords job) {
  std::size_t own = 0;  // words before the name of the command
  while (own < job.size() && job[own].starts_with("--timeout")) own += job[own] == "--timeout" ? 2 : 1;
  own = std::min(own, job.size());
  std::vector<std::string> words(job.begin(), job.begin() + static_cast<std::ptrdiff_t>(own));
  words.emplace_back("preflight");
  job = job.subspan(own);
  if (!job.empty() && job.front() == "fit") {
    words.emplace_back("--");
    words.insert(words.end(), job.begin(), job.end());
    return words;
  }
  const auto options = std::find_if(job.begin(), job.end(), [](const std::string& word) { return word.starts_with("-"); });
  std::copy_if(job.begin(), options, std::back_inserter(words),
               [](const std::string& word) { return word.find(":/") != std::string::npos; });
  for (const char* option : {"--threads", "--device"})
    if (const std::string value = value_of(job, option); !value.empty()) words.insert(words.end(), {option, value});
  return words;
}

}  // namespace tally
