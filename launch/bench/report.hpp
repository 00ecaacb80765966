#pragma once
#include <map>
#include <string>
#include <vector>

namespace tally::bench {

// One thing that was measured, under a name that stays the same from run to run.
struct Entry {
  std::string name;
  std::string kind;                                // "ceiling", "model", "strong" or "weak"
  std::vector<double> seconds, processor_seconds;  // of each repetition
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> words;
};

struct Report {
  std::string benchmark;           // the command's name
  std::string command;             // as it was typed
  std::vector<std::string> hosts;  // of the ranks, each once
  int ranks = 1, threads = 1;      // threads of each rank
  double load_before = 0;          // load average of this host
  std::vector<Entry> entries;
};

// The report as bench/compare reads it, with this machine, the commit, and the date: docs/performance.md has its keys.
std::string to_json(const Report& report);

double load_average();
// What to think of wall times where other programs ran at the beginning; nothing where none did.
std::string words_on_load(double load);

}  // namespace tally::bench
