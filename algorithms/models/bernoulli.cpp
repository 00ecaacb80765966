#include "algorithms/models/bernoulli.hpp"

#include "algorithms/families/family_entry.hpp"
#include "algorithms/families/missing_kernels.hpp"

namespace tally {
namespace {

template <class Make>
std::unique_ptr<Model> with_bernoulli(Index components, Index columns, const BernoulliOptions& options,
                                      const Make& make) {
  const BernoulliFamily family(options, components, columns);
  const BernoulliKernel kernel{{components, family.width()}};
  if (options.missing_values) return make(family, ObservedValues<BernoulliKernel>{kernel});
  return make(family, kernel);
}

}  // namespace

std::unique_ptr<Model> make_bernoulli_mixture(Index components, Index columns, const BernoulliOptions& options) {
  return with_bernoulli(components, columns, options, MakeMixture{"bernoulli"});
}

FamilyEntry bernoulli_entry() {
  return family_entry(
      {"bernoulli",
       "bernoulli",
       "mixture of independent columns of 0 and 1 (latent classes)",
       {{"alpha", "added to the counts of ones and of zeros in every M-step", "0"}, missing_option()}},
      [](Index components, Index columns, const OptionValues& options, const auto& make) {
        return with_bernoulli(components, columns, {number_option(options, "alpha", 0), takes_missing_values(options)}, make);
      });
}

}  // namespace tally
