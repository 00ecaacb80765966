#pragma once
#include <memory>

#include "algorithms/family_kernel.hpp"
#include "algorithms/latent/chain_shape.hpp"
#include "algorithms/tile_kernel.hpp"
#include "core/backends/cpu_lane.hpp"

namespace tally {

// Binds kernels to CPU lanes in the precision asked for, tf32 being single there. Coefficients and statistics are as
// BindKernel says.
struct CpuBackend {
  using Lane = CpuLane;

  static std::unique_ptr<BoundModel> bind_tiles(const TileKernels<CpuLane>& kernels, const Coefficients& coefficients,
                                                const Layout& statistics, Index components, const BindOptions& options);
  static std::unique_ptr<BoundModel> bind_mixture(const FamilyKernels<CpuLane>& kernels, const Coefficients& coefficients,
                                                  const Layout& statistics, Index components, const BindOptions& options);
  // Of the chain's coefficients the family's come first.
  static std::unique_ptr<BoundModel> bind_chain(const ChainShape& shape, const FamilyKernels<CpuLane>& kernels,
                                                const Coefficients& coefficients, const Layout& statistics,
                                                const BindOptions& options);
};

// Binds a kernel of any type (see TileKernelOf).
template <class Kernel>
std::unique_ptr<BoundModel> bind_to_cpu(const Kernel& kernel, const Coefficients& coefficients, const Layout& statistics,
                                        Index components, const BindOptions& options) {
  return CpuBackend::bind_tiles(tile_kernels<CpuLane>(kernel), coefficients, statistics, components, options);
}

}  // namespace tally
