#include "algorithms/models/kmeans.hpp"

#include "algorithms/families/centroid.hpp"
#include "algorithms/latent/hard.hpp"
#include "algorithms/pair_model.hpp"

namespace tally {

std::unique_ptr<Model> make_kmeans(Index components, Index columns) {
  return std::make_unique<PairModel<CentroidFamily, Hard>>(
      "kmeans", Hard(components), CentroidFamily(components, columns), CentroidKernel{components, columns});
}

ModelEntry kmeans_entry() {
  return {"kmeans", "k-means clustering (Lloyd)", {}, "k-means++",
          [](Index components, Index columns, const OptionValues&) { return make_kmeans(components, columns); }, 1e-4};
}

}  // namespace tally
