#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "core/error.hpp"
#include "launch/context.hpp"
#include "launch/device_choice.hpp"
#include "launch/fit_job.hpp"
#include "launch/option_checks.hpp"
#include "launch/resources.hpp"

namespace tally {
namespace {

struct FitWords {
  FitRequest request;
  std::string precision = "double";
  std::string summation = "exact";
};

void add_common_options(CLI::App& command, FitWords& words, const ModelEntry& entry) {
  FitRequest& request = words.request;
  command.add_option("data", request.data, "Data sets, FILE.h5:/PATH; several, or a glob, act as one")->required();
  if (entry.has_components)
    command
        .add_option(entry.of_sequences ? "-k,--states,--components" : "-k,--components", request.components,
                    entry.of_sequences ? "Number of states" : "Number of components")
        ->check(whole_number_from(1));
  command.add_option("-o,--out", request.out, "Model file to write");
  command.add_option("--weights", request.weights,
                     entry.of_sequences ? "Weights of the sequences, FILE.h5:/PATH" : "Weights of the rows, FILE.h5:/PATH");
  if (entry.of_sequences) {
    command.add_option("--lengths", request.lengths,
                       "Lengths of the sequences that lie end to end, FILE.h5:/PATH (default: one sequence)");
    command.add_option("--labels", request.labels, "Known states of steps, FILE.h5:/PATH; -1: not known");
  }
  command.add_option("--init", request.init,
                     "Start: kmeans, k-means++, random, random-from-data, or labels:, responsibilities:, parameters:, "
                     "model: and a file" +
                         (entry.default_init.empty() ? "" : " (default " + entry.default_init + ")"));
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
  command.add_option("--seed", request.seed, "Seed of every random number")->capture_default_str();
  command.add_option("--threads", request.threads, "Threads of each rank (default: its processors)")
      ->check(whole_number_from(1));
  add_device_option(command, request.device);
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
  command.add_option("--times", request.times_file,
                     "Write where the time of every iteration went on every rank to this file, as JSON");
  command.add_option("--summation", words.summation,
                     "exact, or plain: sums whose bits depend on ranks and threads, to measure what exactness costs")
      ->capture_default_str()
      ->check(CLI::IsMember({"exact", "plain"}));
}

}  // namespace

void add_fit_command(CLI::App& app, const Registry& registry, const Choose& choose, const RunFit& run) {
  CLI::App* fit = app.add_subcommand("fit", "Fit a model to data");
  fit->require_subcommand(1);
  for (const ModelEntry& entry : registry.entries()) {
    auto words = std::make_shared<FitWords>();
    words->request.model = entry.name;
    CLI::App* command = fit->add_subcommand(entry.name, "Fit: " + entry.summary);
    add_common_options(*command, *words, entry);
    for (const ModelOption& option : entry.options) {
      if (option.flag) {
        command->add_flag_callback(
            "--" + option.name, [words, name = option.name] { words->request.model_options[name] = "true"; }, option.help);
        continue;
      }
      command->add_option_function<std::string>(
          "--" + option.name,
          [words, name = option.name](const std::string& value) { words->request.model_options[name] = value; },
          option.help + " (default " + option.default_value + ")");
    }
    command->callback([words, choose, run] {
      choose([words, run](CommandContext& context) {
        FitRequest& request = words->request;
        request.fit.precision = precision_named(words->precision);
        if (words->summation == "plain") request.fit.summation = Summation::plain;
        return run(request, context);
      });
    });
  }
}

}  // namespace tally
