#include "algorithms/chain_memory.hpp"

#include "algorithms/latent/chain_kernel.hpp"

namespace tally {

ChainMemory chain_memory(const Model& model, const BlockPlan& plan, const BindOptions& options) {
  if (!plan.sequences()) return {};
  const Index K = model.components(), KM = model.densities(), B = plan.most_rows();
  const Index real = in_float(options.precision) ? sizeof(float) : sizeof(double);
  // Emissions, alpha with a row before the first, gamma; the components of mixtures; offsets, maxima and scales.
  const Index values = (3 * B + 1) * K + (KM > K ? B * KM : 0);
  // The messages forward and backward; where they are composed a matrix and its scales.
  const Index message = 2 * K + (K <= most_composed_states ? K * (K + 1) : 0);
  const Index sums = options.candidates * model.statistics().size() * 2 * static_cast<Index>(sizeof(std::int64_t));
  return {values * real + 3 * B * static_cast<Index>(sizeof(double)) + sums,
          options.candidates * plan.cut_piece_count() * message * static_cast<Index>(sizeof(double))};
}

}  // namespace tally
