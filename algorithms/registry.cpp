#include "algorithms/registry.hpp"

#include <charconv>
#include <sstream>

#include "algorithms/models/hmm.hpp"
#include "core/error.hpp"

namespace tally {

void Registry::add(ModelEntry entry) {
  for (const ModelEntry& known : entries_)
    if (known.name == entry.name) throw UsageError("a model called " + entry.name + " is already registered");
  entries_.push_back(std::move(entry));
}

void Registry::add(FamilyEntry entry) {
  add(std::move(entry.mixture));
  emissions_.push_back(std::move(entry.emission));
  std::erase_if(entries_, [](const ModelEntry& known) { return known.name == "hmm"; });
  add(hmm_entry(emissions_));
}

const ModelEntry& Registry::find(const std::string& name) const {
  std::string names;
  for (const ModelEntry& entry : entries_) {
    if (entry.name == name) return entry;
    names += (names.empty() ? "" : ", ") + entry.name;
  }
  throw UsageError("there is no model '" + name + "'; there are: " + names);
}

const EmissionEntry& Registry::find_emission(const std::string& word) const {
  std::string words;
  for (const EmissionEntry& emission : emissions_) {
    if (emission.word == word) return emission;
    words += (words.empty() ? "" : ", ") + emission.word;
  }
  throw UsageError("there is no emission '" + word + "'; there are: " + words);
}

std::vector<ModelOption> with_defaults(std::vector<ModelOption> options, const OptionValues& defaults) {
  for (ModelOption& option : options)
    if (const auto found = defaults.find(option.name); found != defaults.end()) option.default_value = found->second;
  return options;
}

ModelOption freeze_option() {
  return {"freeze", "parameters that stay as they start, as means,weights", "none"};
}

ModelOption missing_option() {
  ModelOption option{"missing", "what NaN is: error, or nan, a value that was not observed and is marginalised", "error",
                     {"error", "nan"}};
  option.of_data = true;
  return option;
}

bool takes_missing_values(const OptionValues& options) {
  const auto found = options.find("missing");
  if (found == options.end() || found->second == "error") return false;
  if (found->second != "nan") throw UsageError("--missing " + found->second + " is unknown: error and nan are there");
  return true;
}

std::set<std::string> names_option(const OptionValues& options, const std::string& name) {
  std::set<std::string> names;
  const auto found = options.find(name);
  if (found == options.end()) return names;
  std::istringstream text(found->second);
  for (std::string word; std::getline(text, word, ',');)
    if (!word.empty()) names.insert(word);
  return names;
}

std::vector<double> parse_numbers(const std::string& name, const std::string& text) {
  std::vector<double> values;
  const char* const last = text.data() + text.size();
  for (const char* next = text.data();;) {
    double value = 0;
    const auto [end, failure] = std::from_chars(next, last, value);
    if (failure != std::errc() || (end != last && *end != ','))
      throw UsageError("--" + name + " " + text + " is not a number, nor numbers with commas between");
    values.push_back(value);
    if (end == last) return values;
    next = end + 1;
  }
}

double number_option(const OptionValues& options, const std::string& name, double default_value) {
  const auto found = options.find(name);
  if (found == options.end()) return default_value;
  const std::string& text = found->second;
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size())
    throw UsageError("--" + name + " " + text + " is not a number");
  return value;
}

}  // namespace tally
