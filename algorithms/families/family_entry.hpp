#pragma once
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "algorithms/latent/chain.hpp"
#include "algorithms/latent/mixture.hpp"
#include "algorithms/pair_model.hpp"
#include "algorithms/registry.hpp"

namespace tally {

// Makes a mixture of a family and its kernel.
struct MakeMixture {
  std::string name;
  std::set<std::string> frozen = {};
  double concentration = 1;

  template <class Family, class Kernel>
  std::unique_ptr<Model> operator()(Family family, const Kernel& kernel) const {
    const Mixture mixture(family.components(), concentration);
    return std::make_unique<PairModel<Family, Mixture>>(name, mixture, std::move(family), kernel, frozen);
  }
};

// Makes a chain whose states emit the family's components.
struct MakeChain {
  ChainOptions options;
  std::set<std::string> frozen = {};

  template <class Family, class Kernel>
  std::unique_ptr<Model> operator()(Family family, const Kernel& kernel) const {
    const Chain chain(options, family.components() / options.mixtures);
    return std::make_unique<PairModel<Family, Chain>>("hmm", chain, std::move(family), kernel, frozen);
  }
};

// How the command and the files call a family.
struct FamilyWords {
  std::string mixture;               // "gmm"
  std::string emission;              // "gaussian"
  std::string summary;               // of the mixture
  std::vector<ModelOption> options;  // of the family
  OptionValues emission_defaults = {};  // where an emission's differ
};

// Every model that is made of a family, each by one line. `declare(components, columns, option values, make)` returns
// make(family, kernel) for the family and the kernel that the options ask for.
template <class Declare>
FamilyEntry family_entry(const FamilyWords& words, const Declare& declare) {
  std::vector<ModelOption> own_options = words.options;
  own_options.push_back(freeze_option());
  FamilyEntry entry;
  entry.mixture = {words.mixture, words.summary, own_options, "kmeans",
                   [declare, name = words.mixture](Index components, Index columns, const OptionValues& options) {
                     return declare(components, columns, options,
                                    MakeMixture{name, names_option(options, "freeze"),
                                                number_option(options, "weight-concentration-prior", 1)});
                   }};
  entry.mixture.options.push_back(
      {"weight-concentration-prior", "concentration of a Dirichlet prior of the weights, from 1 on; 1: none", "1"});
  entry.mixture.takes_labels = true;
  entry.emission = {words.emission, with_defaults(own_options, words.emission_defaults),
                    [declare](Index states, Index columns, const OptionValues& options, const ChainOptions& chain) {
                      return declare(states * chain.mixtures, columns, options,
                                     MakeChain{chain, names_option(options, "freeze")});
                    }};
  return entry;
}

}  // namespace tally
