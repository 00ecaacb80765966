#include "algorithms/models/von_mises_fisher.hpp"

#include "algorithms/families/family_entry.hpp"
#include "algorithms/families/von_mises_fisher.hpp"

namespace tally {

FamilyEntry von_mises_fisher_entry() {
  return family_entry(
      {"von-mises-fisher",
       "von-mises-fisher",
       "mixture of von Mises-Fisher distributions: directions, as vectors of length 1",
       {{"max-concentration", "largest concentration of a component", "1e8"}}},
      [](Index components, Index columns, const OptionValues& options, const auto& make) {
        const VonMisesFisherOptions own{
            number_option(options, "max-concentration", VonMisesFisherOptions{}.max_concentration)};
        return make(VonMisesFisherFamily(own, components, columns), LinearKernel{{components, 1 + columns}});
      });
}

}  // namespace tally
