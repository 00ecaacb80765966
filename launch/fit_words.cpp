#include "launch/fit_words.hpp"

#include <CLI/App.hpp>

#include "launch/device_choice.hpp"
#include "launch/option_checks.hpp"
#include "launch/resources.hpp"

namespace tally {

void add_start_options(CLI::App& command, FitWords& words, const ModelEntry& entry, const std::string& ways) {
  FitRequest& request = words.request;
  command.add_option("--init", request.init,
                     "Start: " + ways + (entry.default_init.empty() ? "" : " (default " + entry.default_init + ")"));
  command.add_option("--n-init", request.restarts, "Starts, fitted together in one pass; the best is kept")
      ->capture_default_str();
  command.add_option("--max-iter", request.fit.max_iterations, "M-steps at most")
      ->capture_default_str()
      ->check(whole_number_from(0));
  request.fit.tolerance = entry.default_tolerance;
  command.add_option("--tol", request.fit.tolerance,
                     "Stop when the mean objective per unit of weight changes by less; 0: never")
      ->capture_default_str()
      ->check(number_from(0));
  command
      .add_option_function<std::string>(
          "--on-degenerate",
          [&request](const std::string& word) { request.fit.on_degenerate = parse_on_degenerate(word); },
          "What becomes of a component that is empty or whose covariance collapsed: floor (it keeps its parameters, or "
          "the ridge), reseed, prune or error")
      ->default_str("floor");
  command.add_option("--seed", request.seed, "Seed of every random number")->capture_default_str();
}

void add_running_options(CLI::App& command, FitWords& words) {
  FitRequest& request = words.request;
  command.add_option("--threads", request.threads, "Threads of each rank (default: its processors)")
      ->check(whole_number_from(1));
  add_precision_option(command, words.precision);
  command.add_option_function<std::string>(
      "--memory", [&request](const std::string& text) { request.memory = parse_bytes(text); },
      "Memory for the rows of each rank, as 512M; more is streamed (default: 70 % of what is available)");
  command.add_option("--checkpoint", request.checkpoint_folder, "Folder for checkpoints");
  command.add_option("--every", request.checkpoint_every, "Iterations between checkpoints")
      ->capture_default_str()
      ->check(whole_number_from(1));
  command.add_flag("--resume", request.resume, "Go on from the newest checkpoint, if there is one");
  command.add_flag("-q,--quiet", request.quiet, "No progress");
  command.add_flag("--json", request.json, "Print the result as JSON");
  command.add_option("--log", request.log_file, "Append a JSON object per iteration to this file");
}

}  // namespace tally
