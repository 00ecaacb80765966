#include "algorithms/models/hmm.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "algorithms/latent/chain.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

std::vector<ModelOption> chain_option_words() {
  return {{"startprob", "probabilities of the first state: free, stationary (those the transitions keep) or fixed", "free",
           {"free", "stationary", "fixed"}},
          {"topology", "possible transitions: ergodic, left-right, banded:WIDTH, or a matrix of 0 and 1, FILE.h5:/PATH",
           "ergodic"},
          {"startprob-prior", "concentration of a Dirichlet prior, one number or one for each state", "1"},
          {"transmat-prior", "concentration of a Dirichlet prior, one number or one for each transition", "1"},
          {"mixtures", "components of the emission in each state", "1"},
          {"count-transitions", "labels that the fit starts from count as transitions, too", "", {}, true}};
}

std::string value_of(const OptionValues& options, const std::string& name, const std::string& otherwise) {
  const auto found = options.find(name);
  return found == options.end() ? otherwise : found->second;
}

ChainOptions chain_options(const OptionValues& options, const std::string& emission) {
  ChainOptions chain;
  chain.startprob = parse_startprob(value_of(options, "startprob", "free"));
  chain.topology = value_of(options, "topology", chain.topology);
  chain.startprob_prior = parse_numbers("startprob-prior", value_of(options, "startprob-prior", "1"));
  chain.transmat_prior = parse_numbers("transmat-prior", value_of(options, "transmat-prior", "1"));
  const double mixtures = number_option(options, "mixtures", 1);
  if (!(mixtures >= 1 && mixtures <= 1e6 && mixtures == std::floor(mixtures)))
    throw UsageError("--mixtures must be a whole number from 1 on");
  chain.mixtures = static_cast<Index>(mixtures);
  chain.emission = emission;
  chain.count_transitions = options.contains("count-transitions");
  if (chain.count_transitions && chain.mixtures > 1)
    throw UsageError("--count-transitions needs --mixtures 1: labels then say the state");
  return chain;
}

bool has(const std::vector<ModelOption>& options, const std::string& name) {
  return std::ranges::any_of(options, [&](const ModelOption& option) { return option.name == name; });
}

// Options of all emissions, each once: "(gaussian) shape of the covariances".
std::vector<ModelOption> all_options(const std::vector<EmissionEntry>& emissions) {
  std::vector<std::string> words;
  for (const EmissionEntry& emission : emissions) words.push_back(emission.word);
  std::vector<ModelOption> options = {{"emission", "what the states emit", words.front(), words}};
  for (const ModelOption& option : chain_option_words()) options.push_back(option);
  for (const EmissionEntry& emission : emissions)
    for (ModelOption option : emission.options) {
      const auto known = std::ranges::find(options, option.name, &ModelOption::name);
      if (known != options.end()) {
        known->help.insert(known->help.find(')'), ", " + emission.word);
        continue;
      }
      option.help = "(" + emission.word + ") " + option.help;
      options.push_back(std::move(option));
    }
  return options;
}

std::unique_ptr<Model> make_chain(const std::vector<EmissionEntry>& emissions, Index states, Index columns,
                                  const OptionValues& options) {
  const std::string word = value_of(options, "emission", emissions.front().word);
  const auto emission = std::ranges::find(emissions, word, &EmissionEntry::word);
  if (emission == emissions.end()) {
    std::string words;
    for (const EmissionEntry& known : emissions) words += (words.empty() ? "" : ", ") + known.word;
    throw UsageError("--emission " + word + " is unknown; there are: " + words);
  }
  for (const auto& [name, value] : options)
    if (name != "emission" && !has(chain_option_words(), name) && !has(emission->options, name))
      throw UsageError("--" + name + " is no option of --emission " + word);
  OptionValues with_defaults;
  for (const ModelOption& option : emission->options)
    if (!option.choices.empty()) with_defaults[option.name] = option.default_value;
  OptionValues values = options;
  values.merge(with_defaults);
  return emission->make(states, columns, values, chain_options(options, word));
}

}  // namespace

ModelEntry hmm_entry(const std::vector<EmissionEntry>& emissions) {
  ModelEntry entry;
  entry.name = "hmm";
  entry.summary = "hidden Markov model";
  entry.options = all_options(emissions);
  entry.default_init = "kmeans";
  entry.make = [emissions](Index states, Index columns, const OptionValues& options) {
    return make_chain(emissions, states, columns, options);
  };
  entry.of_sequences = true;
  entry.takes_labels = true;
  return entry;
}

}  // namespace tally
