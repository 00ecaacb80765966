#include "algorithms/models/poisson.hpp"

#include "algorithms/families/family_entry.hpp"
#include "algorithms/families/poisson.hpp"

namespace tally {
namespace {

template <class Make>
std::unique_ptr<Model> with_poisson(Index components, Index columns, const Make& make) {
  return make(PoissonFamily(components, columns), LinearKernel{{components, 1 + columns}});
}

}  // namespace

std::unique_ptr<Model> make_poisson_mixture(Index components, Index columns) {
  return with_poisson(components, columns, MakeMixture{"poisson"});
}

FamilyEntry poisson_entry() {
  return family_entry({"poisson", "poisson", "mixture of independent Poisson counts", {}},
                      [](Index components, Index columns, const OptionValues&, const auto& make) {
                        return with_poisson(components, columns, make);
                      });
}

}  // namespace tally
