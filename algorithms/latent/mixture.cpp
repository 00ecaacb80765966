#include "algorithms/latent/mixture.hpp"

#include <memory>
#include <vector>

#include "core/error.hpp"

namespace tally {

void Mixture::read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) {
  const auto found = arrays.find("weights");
  if (found == arrays.end()) return;
  const auto weights = layout["weights"].in(parameters);
  if (found->second.shape != layout["weights"].shape)
    throw DataError("start parameter 'weights' has the wrong shape: (" + std::to_string(weights.size()) +
                    ") is needed");
  double sum = 0;
  for (const double weight : found->second.values) {
    if (!(weight >= 0)) throw DataError("start parameter 'weights' has a value below 0");
    sum += weight;
  }
  if (!(std::abs(sum - 1) < 1e-6)) throw DataError("start parameter 'weights' sums to " + std::to_string(sum) + ", not to 1");
  std::copy(found->second.values.begin(), found->second.values.end(), weights.begin());
}

Mixture::DrawComponent Mixture::sampler(const Layout& layout, std::span<const double> parameters, Index components) {
  const auto cumulative = std::make_shared<std::vector<double>>();
  double sum = 0;
  for (const double weight : layout["weights"].in(parameters)) cumulative->push_back(sum += weight);
  return [cumulative, components](RandomKey key, Index row) {
    const double u = uniform(key, static_cast<std::uint64_t>(row), 0) * cumulative->back();
    const auto found = std::upper_bound(cumulative->begin(), cumulative->end(), u) - cumulative->begin();
    return std::min<Index>(found, components - 1);
  };
}

}  // namespace tally
