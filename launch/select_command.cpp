#include <CLI/App.hpp>
#include <map>
#include <memory>

#include "core/error.hpp"
#include "launch/context.hpp"
#include "launch/fit_words.hpp"
#include "launch/select_job.hpp"

namespace tally {
namespace {

struct SelectWords {
  FitWords fit;
  std::string components, criterion = "bic", plot;
  std::map<std::string, std::string> choices;  // of options that name one of several words: the words to compare
};

// The words of an option, with commas between, each once; "all" stands for every one. Throws UsageError.
std::vector<std::string> words_of_choice(const ModelOption& option, const std::string& text) {
  std::vector<std::string> all = option.choices;
  all.insert(all.end(), option.variants.begin(), option.variants.end());
  if (text == "all") return all;
  std::vector<std::string> words = CLI::detail::split(text, ',');
  std::vector<std::string> chosen;
  for (std::string& word : words) {
    if (const auto same = option.synonyms.find(word); same != option.synonyms.end()) word = same->second;
    if (std::find(all.begin(), all.end(), word) == all.end()) {
      std::string known;
      for (const std::string& each : all) known += (known.empty() ? "" : ", ") + each;
      throw UsageError("--" + option.name + " " + text + ": '" + word + "' is none of " + known + "; or say all");
    }
    if (std::find(chosen.begin(), chosen.end(), word) == chosen.end()) chosen.push_back(word);
  }
  return chosen;
}

// Every combination of the words of the options that have several.
std::vector<OptionValues> shapes_of(const ModelEntry& entry, const std::map<std::string, std::string>& choices) {
  std::vector<OptionValues> shapes(1);
  for (const ModelOption& option : entry.options) {
    const auto text = choices.find(option.name);
    if (text == choices.end()) continue;
    std::vector<OptionValues> longer;
    for (const OptionValues& shape : shapes)
      for (const std::string& word : words_of_choice(option, text->second)) {
        longer.push_back(shape);
        longer.back()[option.name] = word;
      }
    shapes = std::move(longer);
  }
  return shapes;
}

void add_options(CLI::App& command, const std::shared_ptr<SelectWords>& words, const ModelEntry& entry) {
  FitRequest& request = words->fit.request;
  command.add_option("data", request.data, "Data sets, FILE.h5:/PATH; several, or a glob, act as one")->required();
  command.add_option("-k,--components", words->components, "Numbers of components, as 1:10, 2:20:2 or 3,5,8")->required();
  command.add_option("--criterion", words->criterion, "What chooses: bic, aic or icl; the smallest wins")
      ->capture_default_str();
  command.add_option("-o,--out", request.out, "Model file to write: the best");
  command.add_option("--plot", words->plot, "SVG file to write: the criterion over the number of components");
  command.add_option("--weights", request.weights, "Weights of the rows, FILE.h5:/PATH");
  add_start_options(command, words->fit, entry, "kmeans, k-means++, random or random-from-data");
  add_running_options(command, words->fit);
  for (const ModelOption& option : entry.options) {
    const std::string name = "--" + option.name, fallback = " (default " + option.default_value + ")";
    if (!option.choices.empty() && !option.of_data)
      command.add_option_function<std::string>(
          name, [words, key = option.name](const std::string& value) { words->choices[key] = value; },
          option.help + "; several with commas between, or all, are compared" + fallback);
    else if (option.flag)
      command.add_flag_callback(name, [words, key = option.name] { words->fit.request.model_options[key] = "true"; },
                                option.help);
    else
      command.add_option_function<std::string>(
          name, [words, key = option.name](const std::string& value) { words->fit.request.model_options[key] = value; },
          option.help + fallback);
  }
}

}  // namespace

void add_select_command(CLI::App& app, const Registry& registry, const Choose& choose) {
  CLI::App* select = app.add_subcommand("select", "Fit many numbers of components at once and choose one");
  select->require_subcommand(1);
  for (const ModelEntry& entry : registry.entries()) {
    if (!entry.has_components || entry.of_sequences) continue;
    auto words = std::make_shared<SelectWords>();
    words->fit.request.model = entry.name;
    CLI::App* command = select->add_subcommand(entry.name, "Compare: " + entry.summary);
    add_options(*command, words, entry);
    command->callback([words, choose, &entry] {
      choose([words, &entry](CommandContext& context) {
        words->fit.take();
        const SelectRequest request{words->fit.request, parse_components(words->components),
                                    shapes_of(entry, words->choices), parse_criterion(words->criterion), words->plot};
        return run_select(request, context);
      });
    });
  }
}

}  // namespace tally
