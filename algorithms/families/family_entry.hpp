#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "algorithms/latent/mixture.hpp"
#include "algorithms/pair_model.hpp"
#include "algorithms/registry.hpp"

namespace tally {

// Makes a mixture of a family and its kernel.
struct MakeMixture {
  std::string name;

  template <class Family, class FamilyKernel>
  std::unique_ptr<Model> operator()(Family family, FamilyKernel kernel) const {
    const Mixture mixture(family.components());
    return std::make_unique<PairModel<Family, Mixture, FamilyKernel>>(name, mixture, std::move(family),
                                                                      std::move(kernel));
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
  FamilyEntry entry;
  entry.mixture = {words.mixture, words.summary, words.options, "kmeans",
                   [declare, make = MakeMixture{words.mixture}](Index components, Index columns,
                                                                const OptionValues& options) {
                     return declare(components, columns, options, make);
                   }};
  entry.emission = {words.emission, with_defaults(words.options, words.emission_defaults), nullptr};
  return entry;
}

}  // namespace tally
