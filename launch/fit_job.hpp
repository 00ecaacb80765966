#pragma once
#include <cstdint>
#include <string>

#include "algorithms/em_fit.hpp"
#include "algorithms/registry.hpp"
#include "launch/context.hpp"
#include "launch/device_choice.hpp"
#include "launch/model_file.hpp"

namespace tally {

// Everything `tally fit` was asked for.
struct FitRequest {
  std::string model;
  std::vector<std::string> data;
  std::string weights;
  std::string lengths;  // of sequences; empty: one sequence
  std::string labels;   // of steps whose state is known; empty: none is
  Index components = 0;
  OptionValues model_options;
  std::string init;  // empty: the model's default
  int restarts = 1;
  std::int64_t seed = 0;
  FitOptions fit;
  int threads = 0;   // 0: the processors of this rank
  std::string device = "cpu";
  Index memory = 0;  // bytes; 0: 70 % of what is available
  std::string out;
  std::string checkpoint_folder;
  int checkpoint_every = 10;
  bool resume = false;
  bool quiet = false;
  bool json = false;
  std::string log_file;
};

// Runs a fit from its files to its model file; rank 0 prints the result. Returns the exit status. Collective.
int run_fit(const FitRequest& request, CommandContext& context);

}  // namespace tally
