#include <CLI/App.hpp>
#include <map>
#include <memory>

#include "launch/context.hpp"
#include "launch/device_choice.hpp"
#include "launch/fit_words.hpp"
#include "launch/option_checks.hpp"

namespace tally {
namespace {

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
  }
  if (entry.takes_labels)
    command.add_option("--labels", request.labels,
                       entry.of_sequences ? "Known states of steps, FILE.h5:/PATH; -1: not known"
                                          : "Known components of rows, FILE.h5:/PATH; -1: not known");
  add_start_options(command, words, entry,
                    "kmeans, k-means++, random, random-from-data, or labels:, responsibilities:, parameters:, "
                    "model: and a file");
  add_device_option(command, request.device);
  add_running_options(command, words);
  command.add_option("--times", request.times_file,
                     "Write where the time of every iteration went on every rank to this file, as JSON");
  command
      .add_option_function<std::string>(
          "--summation",
          [&request](const std::string& word) { request.fit.summation = word == "plain" ? Summation::plain : Summation::exact; },
          "exact, or plain: sums whose bits depend on ranks and threads, to measure what exactness costs")
      ->default_str("exact")
      ->check(CLI::IsMember({"exact", "plain"}));
}

Stepwise& stepwise(FitRequest& request) {
  if (!request.fit.stepwise) request.fit.stepwise.emplace();
  return *request.fit.stepwise;
}

void add_stepwise_options(CLI::App& command, FitRequest& request) {
  command
      .add_option_function<Index>(
          "--mini-batch", [&request](Index rows) { stepwise(request).rows = rows; },
          "Rows of a batch: an M-step follows each batch of rows, not each pass over all (stepwise EM); --max-iter counts them")
      ->check(whole_number_from(1));
  command.add_option_function<double>(
      "--step-decay", [&request](double decay) { stepwise(request).step_decay = decay; },
      "A batch's share of the running statistics is (step + 1)^-DECAY; above 0.5, at most 1 (default 0.7)");
  command
      .add_option_function<Index>(
          "--held-out", [&request](Index rows) { stepwise(request).held_out = rows; },
          "Rows that no batch has, for a score every 10 steps, which --tol is about; 0: none (default: as a batch, at most a "
          "tenth of all)")
      ->check(whole_number_from(0));
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
    if (entry.takes_labels && !entry.of_sequences) add_stepwise_options(*command, words->request);
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
        words->take();
        return run(words->request, context);
      });
    });
  }
}

}  // namespace tally
