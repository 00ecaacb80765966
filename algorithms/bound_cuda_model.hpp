#pragma once
#include <memory>

#include "algorithms/bound_device_model.hpp"
#include "core/backends/cuda_lane.hpp"

// Included only by sources that are compiled as CUDA.
namespace tally {

// Binds a kernel to the current GPU in the precision asked for. Both precisions are compiled into every
// model's object.
template <class Kernel>
std::unique_ptr<BoundModel> bind_to_cuda(const Kernel& kernel, const Coefficients& coefficients,
                                         const Layout& statistics, Index components,
                                         const BindOptions& options) {
  if (options.precision == Precision::single_precision)
    return std::make_unique<BoundDeviceModel<Kernel, float, CudaLane>>(kernel, coefficients, statistics,
                                                                       components, options);
  return std::make_unique<BoundDeviceModel<Kernel, double, CudaLane>>(kernel, coefficients, statistics,
                                                                      components, options);
}

}  // namespace tally
