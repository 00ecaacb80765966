#include "launch/resources.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <thread>

#include "core/error.hpp"
#include "launch/cluster/slurm_step.hpp"

namespace tally {
namespace {

// The number in the first of these environment variables that holds one.
int first_number(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const char* text = std::getenv(name))
      if (const int value = std::atoi(text); value > 0) return value;
  return 0;
}

Index available_memory() {
  Index available = std::numeric_limits<Index>::max();
  std::ifstream info("/proc/meminfo");
  for (std::string word; info >> word;)
    if (Index kilobytes = 0; word == "MemAvailable:" && info >> kilobytes) available = kilobytes * 1024;
  std::ifstream limit("/sys/fs/cgroup/memory.max");
  if (Index bytes = 0; limit >> bytes) available = std::min(available, bytes);
  return available;
}

}  // namespace

int ranks_on_this_host() {
  const int said = first_number({"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"});
  return std::max(1, said > 0 ? said : slurm_tasks_on_this_node());
}

int default_threads() {
  cpu_set_t allowed;
  const int processors = sched_getaffinity(0, sizeof allowed, &allowed) == 0
                             ? CPU_COUNT(&allowed)
                             : static_cast<int>(std::thread::hardware_concurrency());
  const int slurm = slurm_processors_on_this_node();
  const int of_job = slurm > 0 ? slurm : static_cast<int>(std::thread::hardware_concurrency());
  // A rank that is bound to some of the job's processors has them to itself.
  return std::max(1, processors < of_job ? processors : of_job / ranks_on_this_host());
}

Index default_memory() {
  return static_cast<Index>(0.7 * static_cast<double>(available_memory())) / ranks_on_this_host();
}

Index parse_bytes(const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, failure] = std::from_chars(text.data(), end, value);
  std::string unit(rest, end);
  std::transform(unit.begin(), unit.end(), unit.begin(), [](unsigned char c) { return std::toupper(c); });
  if (unit.size() > 1 && unit.ends_with("IB")) unit.resize(1);
  if (unit.size() > 1 && unit.ends_with("B")) unit.resize(1);
  int power = -1;
  for (const std::string known : {"", "K", "M", "G", "T"}) {
    ++power;
    if (failure == std::errc() && unit == (known.empty() && unit == "B" ? "B" : known) && value > 0) {
      const double bytes = value * std::pow(1024.0, power);
      if (bytes >= 1 && bytes < 9e18) return static_cast<Index>(bytes);
    }
  }
  throw UsageError("'" + text + "' is no amount of memory; write 512M, 2G or 1.5T");
}

std::string format_bytes(Index bytes) {
  auto value = static_cast<double>(bytes);
  const char* unit = "bytes";
  for (const char* larger : {"KiB", "MiB", "GiB", "TiB"}) {
    if (value < 1024) break;
    value /= 1024;
    unit = larger;
  }
  return fmt::format("{:.4g} {}", value, unit);
}

}  // namespace tally
