#pragma once
#include <memory>
#include <utility>

#include "algorithms/bound_device_model.hpp"
#include "algorithms/chain_engine.hpp"
#include "algorithms/kernel_engine.hpp"
#include "algorithms/lane_backend.hpp"
#include "algorithms/latent/mixture_kernel.hpp"

namespace tally {

template <class DeviceLane>
std::unique_ptr<BoundModel> LaneBackend<DeviceLane>::bind_tiles(const TileKernels<DeviceLane>& kernels,
                                                                const Coefficients& coefficients,
                                                                const Layout& statistics, Index components,
                                                                const BindOptions& options) {
  std::unique_ptr<DeviceEngine> engine;
  if (in_float(options.precision))
    engine = std::make_unique<KernelEngine<float, DeviceLane>>(kernels.in_float, coefficients, statistics, components, options);
  else
    engine = std::make_unique<KernelEngine<double, DeviceLane>>(kernels.in_double, coefficients, statistics, components, options);
  return std::make_unique<BoundDeviceModel>(std::move(engine), statistics, components, options);
}

template <class DeviceLane>
std::unique_ptr<BoundModel> LaneBackend<DeviceLane>::bind_mixture(const FamilyKernels<DeviceLane>& kernels,
                                                                  const Coefficients& coefficients,
                                                                  const Layout& statistics, Index components,
                                                                  const BindOptions& options) {
  return bind_tiles(mixture_kernels(kernels), coefficients, statistics, components, options);
}

template <class DeviceLane>
std::unique_ptr<BoundModel> LaneBackend<DeviceLane>::bind_chain(const ChainShape& shape,
                                                                const FamilyKernels<DeviceLane>& kernels,
                                                                const Coefficients& coefficients,
                                                                const Layout& statistics, const BindOptions& options) {
  std::unique_ptr<DeviceEngine> engine;
  if (in_float(options.precision))
    engine = std::make_unique<ChainEngine<float, DeviceLane>>(ChainKernel(shape, kernels.in_float), coefficients, statistics, options);
  else
    engine = std::make_unique<ChainEngine<double, DeviceLane>>(ChainKernel(shape, kernels.in_double), coefficients, statistics, options);
  return std::make_unique<BoundDeviceModel>(std::move(engine), statistics, shape.states, options, shape.count_transitions);
}

}  // namespace tally
