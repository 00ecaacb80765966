#include "algorithms/models/poisson.hpp"

#include "algorithms/families/family_entry.hpp"
#include "algorithms/families/missing_kernels.hpp"
#include "algorithms/families/poisson.hpp"

namespace tally {
namespace {

template <class Make>
std::unique_ptr<Model> with_poisson(Index components, Index columns, bool missing_values, const Make& make) {
  const LinearKernel kernel{{components, 1 + columns}};
  const PoissonFamily family(components, columns, missing_values);
  if (missing_values) return make(family, ObservedColumns(kernel, columns));
  return make(family, kernel);
}

}  // namespace

std::unique_ptr<Model> make_poisson_mixture(Index components, Index columns) {
  return with_poisson(components, columns, false, MakeMixture{"poisson"});
}

FamilyEntry poisson_entry() {
  return family_entry({"poisson", "poisson", "mixture of independent Poisson counts", {missing_option()}},
                      [](Index components, Index columns, const OptionValues& options, const auto& make) {
                        return with_poisson(components, columns, takes_missing_values(options), make);
                      });
}

}  // namespace tally
