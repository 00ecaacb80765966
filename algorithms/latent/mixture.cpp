#include "algorithms/latent/mixture.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "algorithms/families/option_text.hpp"
#include "core/error.hpp"

namespace tally {

Mixture::Mixture(Index components, double concentration) : components_(components), concentration_(concentration) {
  if (!(concentration >= 1) || !std::isfinite(concentration))
    throw UsageError("--weight-concentration-prior must be a number from 1 on, which is none");
}

std::map<std::string, std::string> Mixture::options() const {
  if (concentration_ == 1) return {};
  return {{"weight_concentration_prior", option_text(concentration_)}};
}

void Mixture::set_defaults(const Layout& layout, std::span<double> parameters) const {
  const auto weights = layout["weights"].in(parameters);
  std::fill(weights.begin(), weights.end(), 1 / static_cast<double>(weights.size()));
}

void Mixture::maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                       const Layout& layout, std::span<double> parameters) const {
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  const auto weights = layout["weights"].in(parameters);
  const double more = concentration_ - 1, all = total_weight + static_cast<double>(components_) * more;
  for (Index k = 0; k < components_; ++k) weights[static_cast<std::size_t>(k)] = (moments(k, 0) + more) / all;
}

void Mixture::add_to_coefficients(const Layout& layout, std::span<const double> parameters, Index stride,
                                  std::span<double> of_family, std::span<double>) const {
  const auto weights = layout["weights"].in(parameters);
  for (std::size_t k = 0; k < weights.size(); ++k)
    of_family[k * static_cast<std::size_t>(stride)] += std::log(weights[k]);
}

Index Mixture::halve_heaviest(const Layout& layout, std::span<double> parameters, Index k) const {
  const auto weights = layout["weights"].in(parameters);
  const double own = std::exchange(weights[static_cast<std::size_t>(k)], 0.0);  // a prior may have given it some
  const auto heaviest = std::max_element(weights.begin(), weights.end()) - weights.begin();
  double& halved = weights[static_cast<std::size_t>(heaviest)];
  weights[static_cast<std::size_t>(k)] = halved = 0.5 * (halved + own);
  return heaviest;
}

void Mixture::describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const {
  const auto weights = layout["weights"].in(parameters);
  arrays["weights"] = {layout["weights"].shape, {weights.begin(), weights.end()}};
}

void Mixture::read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const {
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

Mixture::DrawComponent Mixture::sampler(const Layout& layout, std::span<const double> parameters) const {
  const auto cumulative = std::make_shared<std::vector<double>>();
  double sum = 0;
  for (const double weight : layout["weights"].in(parameters)) cumulative->push_back(sum += weight);
  return [cumulative, components = components_](RandomKey key, Index row) {
    const double u = uniform(key, static_cast<std::uint64_t>(row), 0) * cumulative->back();
    const auto found = std::upper_bound(cumulative->begin(), cumulative->end(), u) - cumulative->begin();
    return std::min<Index>(found, components - 1);
  };
}

}  // namespace tally
