#pragma once
#include <memory>
#include <utility>

#include "algorithms/bound_device_model.hpp"
#include "algorithms/chain_engine.hpp"
#include "algorithms/kernel_engine.hpp"

namespace tally {

// Binds models to device lanes of this type in the precision asked for. Double and float are both compiled into every
// model's object.
template <class DeviceLane>
struct LaneBackend {
  template <class Kernel>
  static std::unique_ptr<BoundModel> bind_kernel(const Kernel& kernel, const Coefficients& coefficients,
                                                 const Layout& statistics, Index components,
                                                 const BindOptions& options) {
    std::unique_ptr<DeviceEngine> engine;
    if (in_float(options.precision))
      engine = make_engine<float>(kernel, coefficients, statistics, components, options);
    else
      engine = make_engine<double>(kernel, coefficients, statistics, components, options);
    if constexpr (requires { Kernel::is_chain; })
      return std::make_unique<BoundDeviceModel>(std::move(engine), statistics, kernel.states, options,
                                                kernel.count_transitions);
    else
      return std::make_unique<BoundDeviceModel>(std::move(engine), statistics, components, options);
  }

 private:
  template <class Real, class Kernel>
  static std::unique_ptr<DeviceEngine> make_engine(const Kernel& kernel, const Coefficients& coefficients,
                                                   const Layout& statistics, Index components,
                                                   const BindOptions& options) {
    if constexpr (requires { Kernel::is_chain; })
      return std::make_unique<ChainEngine<Kernel, Real, DeviceLane>>(kernel, coefficients, statistics, options);
    else
      return std::make_unique<KernelEngine<Kernel, Real, DeviceLane>>(kernel, coefficients, statistics, components,
                                                                      options);
  }
};

}  // namespace tally
