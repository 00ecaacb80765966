#include "algorithms/models/gamma.hpp"

#include "algorithms/families/family_entry.hpp"
#include "algorithms/families/gamma.hpp"

namespace tally {

FamilyEntry gamma_entry() {
  return family_entry({"gamma",
                       "gamma",
                       "mixture of independent gamma columns of numbers above 0",
                       {{"max-shape", "largest shape of a component", "1e8"}}},
                      [](Index components, Index columns, const OptionValues& options, const auto& make) {
                        const GammaOptions gamma{number_option(options, "max-shape", GammaOptions{}.max_shape)};
                        const GammaFamily family(gamma, components, columns);
                        return make(family, GammaKernel{{components, family.width()}});
                      });
}

}  // namespace tally
