#pragma once
#include <string>

#include "launch/fit_inputs.hpp"

namespace CLI {
class App;
}

namespace tally {

// The words of a fit as the command line has them; `take` moves those into the request that it does not hold yet.
struct FitWords {
  FitRequest request;
  std::string precision = "double";

  void take() { request.fit.precision = precision_named(precision); }
};

// What every command that fits takes: where it starts, when it ends, what it runs on and what it says.
void add_start_options(CLI::App& command, FitWords& words, const ModelEntry& entry, const std::string& ways);
void add_running_options(CLI::App& command, FitWords& words);

}  // namespace tally
