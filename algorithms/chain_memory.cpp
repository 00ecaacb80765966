#include "algorithms/chain_memory.hpp"

#include <algorithm>

#include "algorithms/latent/chain_shape.hpp"
#include "core/wide_chain.hpp"

namespace tally {
namespace {

bool rules_out_transitions(const Model& model) {
  const auto options = model.options();
  const auto topology = options.find("topology");
  return topology != options.end() && topology->second != "ergodic";
}

// Of a lane that computes a piece in numbers of any size: log-densities of the block; emissions, alpha and gamma of the piece,
// scales and their logarithms; transitions, starts and backward messages.
Index wide_bytes(const Model& model, const BlockPlan& plan, Index real) {
  const Index K = model.components(), B = plan.most_rows();
  const Index steps = std::min(B, model.sequence_cut()->piece_steps);
  constexpr Index wide = sizeof(Wide), number = sizeof(double), transition = sizeof(WideChain::Transition);
  return B * (model.densities() * real + K * number) + steps * (K * (2 * wide + number) + wide + 2 * number) +
         4 * K * wide + K * K * transition;
}

}  // namespace

ChainMemory chain_memory(const Model& model, const BlockPlan& plan, const BindOptions& options) {
  if (!plan.sequences()) return {};
  const Index K = model.components(), KM = model.densities(), B = plan.most_rows();
  const Index real = in_float(options.precision) ? sizeof(float) : sizeof(double);
  // Emissions, alpha with a row before the first, gamma; the components of mixtures; offsets, maxima and scales.
  const Index values = (3 * B + 1) * K + (KM > K ? B * KM : 0);
  // The messages forward and backward; where they are composed a matrix and its scales.
  const Index message = 2 * K + (K <= most_composed_states ? K * (K + 1) : 0);
  const Index sums = options.candidates * model.statistics().size() * 2 * static_cast<Index>(sizeof(std::int64_t));
  const Index wide = rules_out_transitions(model) ? wide_bytes(model, plan, real) : 0;
  return {values * real + 3 * B * static_cast<Index>(sizeof(double)) + sums + wide,
          options.candidates * plan.cut_piece_count() * message * static_cast<Index>(sizeof(double))};
}

}  // namespace tally
