#pragma once
#include <memory>

#include "algorithms/family_kernel.hpp"
#include "algorithms/latent/chain_shape.hpp"
#include "algorithms/tile_kernel.hpp"

namespace tally {

// Binds kernels to device lanes of this type in the precision asked for. Coefficients and statistics are as BindKernel says.
// Defined in lane_engines.hpp: one source of a backend includes it and says `template struct LaneBackend<ItsLane>;`.
template <class DeviceLane>
struct LaneBackend {
  using Lane = DeviceLane;

  static std::unique_ptr<BoundModel> bind_tiles(const TileKernels<DeviceLane>& kernels, const Coefficients& coefficients,
                                                const Layout& statistics, Index components, const BindOptions& options);
  static std::unique_ptr<BoundModel> bind_mixture(const FamilyKernels<DeviceLane>& kernels,
                                                  const Coefficients& coefficients, const Layout& statistics,
                                                  Index components, const BindOptions& options);
  // Of the chain's coefficients the family's come first. Throws UsageError: more states than a device takes.
  static std::unique_ptr<BoundModel> bind_chain(const ChainShape& shape, const FamilyKernels<DeviceLane>& kernels,
                                                const Coefficients& coefficients, const Layout& statistics,
                                                const BindOptions& options);
};

}  // namespace tally
