#pragma once
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>

#include "algorithms/em_fit.hpp"
#include "launch/fit_inputs.hpp"

namespace tally {

// Tells the root's user how a fit goes: a line that rewrites itself on a terminal, plain lines elsewhere, and a JSON
// object a line in a log file.
class Progress {
 public:
  // As the request has it: its log, its limits, whether it is quiet. Throws DataError where the log cannot be written.
  explicit Progress(const FitRequest& request);

  void set_objective_name(const std::string& name) { objective_name_ = name; }
  void note(const std::string& text);
  // Says it even where the user wants to hear little.
  void warn(const std::string& text);
  void iterated(const IterationReport& report);
  // One more line of the log: {"event": ..., ...}.
  void log(const std::string& json);
  // Leaves the rewriting line.
  void finish();

 private:
  bool quiet_;
  std::string log_file_;  // empty: none
  int max_iterations_;
  double tolerance_;
  std::string objective_name_ = "objective";
  bool terminal_;
  bool line_open_ = false;
  std::ofstream log_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last_ = start_;
  double smoothed_seconds_ = 0;
};

}  // namespace tally
