#include "algorithms/models/poisson.hpp"

#include "algorithms/families/poisson.hpp"
#include "algorithms/latent/mixture.hpp"
#include "algorithms/pair_model.hpp"

namespace tally {

std::unique_ptr<Model> make_poisson_mixture(Index components, Index columns) {
  return std::make_unique<PairModel<PoissonFamily, Mixture, PoissonKernel>>(
      "poisson", Mixture(components), PoissonFamily(components, columns), PoissonKernel{{components, 1 + columns}});
}

ModelEntry poisson_entry() {
  return {"poisson", "mixture of independent Poisson counts", {}, "kmeans",
          [](Index components, Index columns, const OptionValues&) {
            return make_poisson_mixture(components, columns);
          }};
}

}  // namespace tally
