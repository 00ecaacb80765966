#pragma once
#include <string>
#include <vector>

#include "core/view.hpp"

namespace tally {

// What one rank is given and what it measured while the others did the same. Cores are named by the number of their
// first processor.
struct RankFigures {
  int rank = 0;
  std::string host;
  std::vector<int> host_cores;  // that the job may use
  std::vector<int> cores;       // that this rank may run on
  std::vector<int> processors;  // the same with all hardware threads
  int threads = 1;
  bool wants_gpu = false;
  std::string gpu;          // identity; empty: none
  double gemm_rate = 0;     // operations a second, of all threads
  double copy_rate = 0;     // bytes a second, of all threads
  double read_rate = 0;     // bytes a second; 0: it has too few rows to tell
};

// A sum over all ranks.
struct SumTime {
  Index bytes = 0;
  double seconds = 0;
};

struct PreflightReport {
  std::vector<RankFigures> ranks;  // by rank
  std::vector<SumTime> sums;       // none for one rank
};

// Something amiss.
struct Finding {
  enum class Kind { slow, binding, gpu };
  Kind kind;
  std::vector<int> ranks;
  std::string words;

  friend bool operator==(const Finding&, const Finding&) = default;
};

// Ranks that hold the others up, ranks that contend for processors, and ranks without a GPU of their own. A function of
// its argument alone.
std::vector<Finding> findings_of(const PreflightReport& report);

// One rank's figures on their way to rank 0.
std::string to_json(const RankFigures& figures);
RankFigures parse_figures(const std::string& json);

// The report as JSON, and as a table for people.
std::string to_json(const PreflightReport& report, const std::vector<Finding>& findings);
std::string to_table(const PreflightReport& report, const std::vector<Finding>& findings);

}  // namespace tally
