#include "algorithms/models/exponential.hpp"

#include "algorithms/families/exponential.hpp"
#include "algorithms/families/family_entry.hpp"

namespace tally {

FamilyEntry exponential_entry() {
  return family_entry(
      {"exponential",
       "exponential",
       "mixture of independent exponential columns, such as waiting times",
       {{"min-mean", "smallest mean of a component, as a share of its column's", "1e-10"}}},
      [](Index components, Index columns, const OptionValues& options, const auto& make) {
        const ExponentialOptions exponential{number_option(options, "min-mean", ExponentialOptions{}.min_mean)};
        return make(ExponentialFamily(exponential, components, columns), LinearKernel{{components, 1 + columns}});
      });
}

}  // namespace tally
