#include "launch/cluster/mpi_support.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <sstream>

namespace tally {
namespace {

using Family = MpiName::Family;

// The first number with points in a text: "v4.1.4," has 4.1.4.
std::string version_in(const std::string& text) {
  constexpr const char* digits = "0123456789";
  const auto start = text.find_first_of(digits);
  if (start == std::string::npos) return "";
  std::string version = text.substr(start, text.find_first_not_of("0123456789.", start) - start);
  while (version.ends_with('.')) version.pop_back();
  return version;
}

std::string first_part(const std::string& version) { return version.substr(0, version.find('.')); }

}  // namespace

std::string MpiName::words() const {
  if (family == Family::unknown) return "";
  const std::string name = family == Family::open_mpi ? "Open MPI" : "MPICH";
  return version.empty() ? name : name + " " + version;
}

MpiName parse_mpi_name(const std::string& text) {
  struct Mark {
    const char* word;
    Family family;
    bool numbers_the_library;  // PRRTE and MPICH's relatives have versions of their own
  };
  constexpr std::array marks = {Mark{"Open MPI", Family::open_mpi, true},  Mark{"OpenRTE", Family::open_mpi, true},
                                Mark{"PRRTE", Family::open_mpi, false},    Mark{"MVAPICH", Family::mpich, false},
                                Mark{"MPICH", Family::mpich, true},    Mark{"HYDRA", Family::mpich, true}};
  for (const Mark& mark : marks)
    if (const auto place = text.find(mark.word); place != std::string::npos)
      return {mark.family, mark.numbers_the_library ? version_in(text.substr(place)) : ""};
  return {};
}

std::string why_not_started_by(const MpiName& mpirun, const MpiName& library) {
  if (mpirun.family == Family::unknown || library.family == Family::unknown || mpirun.family == library.family) return "";
  return "it is of " + mpirun.words() + ", and this Tally was built with " + library.words() +
         ": each rank would run the whole job by itself";
}

std::string doubts_about(const MpiName& mpirun, const MpiName& library) {
  if (mpirun.family != Family::open_mpi || library.family != Family::open_mpi || mpirun.version.empty() ||
      library.version.empty() || first_part(mpirun.version) == first_part(library.version))
    return "";
  return "it is of " + mpirun.words() + ", and the ranks load " + library.words() + ": they may not find each other";
}

void warn_of_libraries(const Cluster& cluster, std::vector<std::string>& warnings) {
  const auto known = std::find_if(cluster.nodes.begin(), cluster.nodes.end(), [](const Node& node) { return !node.mpi.empty(); });
  if (known == cluster.nodes.end()) return;
  const auto differs = [&](const Node& node) { return !node.mpi.empty() && node.mpi != known->mpi; };
  const auto other = std::find_if(known, cluster.nodes.end(), differs);
  if (other == cluster.nodes.end()) return;
  const auto more = std::count_if(other + 1, cluster.nodes.end(), differs);
  warnings.push_back(fmt::format("node {}{} has {} and node {} {}: ranks of different MPI libraries may not find each other",
                                 other->name, more > 0 ? fmt::format(", as {} more,", more) : "", other->mpi, known->name,
                                 known->mpi));
}

std::vector<std::string> parse_srun_plugins(const std::string& text) {
  std::vector<std::string> plugins;
  std::istringstream lines(text);
  bool in_list = false;
  for (std::string line; std::getline(lines, line);) {
    // Before Slurm 22.05 each line began with "srun: ".
    if (line.starts_with("srun: ")) line.erase(0, 6);
    std::istringstream words(line);
    if (line.find("MPI plugin types") != std::string::npos || line.find("MPI types are") != std::string::npos) {
      in_list = true;
      continue;
    }
    // Of pmix some add the versions that they know: "specific pmix plugin versions available: pmix_v4".
    std::string word, second;
    if (in_list && words >> word && !(words >> second)) plugins.push_back(word);
  }
  return plugins;
}

}  // namespace tally
