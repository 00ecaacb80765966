#pragma once
#include <memory>

#include "algorithms/kernel_engine.hpp"
#include "core/error.hpp"

namespace tally {

[[noreturn]] inline void refuse_chain() {
  throw DeviceError("hidden Markov models run on the CPU alone so far; use --device cpu");
}

// Runs every model on lanes of this type, in the precision asked for. Double and float are both compiled into every
// model's object.
template <class Lane>
struct LaneBackend {
  template <class Kernel>
  static std::unique_ptr<BoundModel> bind_kernel(const Kernel& kernel, const Coefficients& coefficients,
                                                 const Layout& statistics, Index components,
                                                 const BindOptions& options) {
    if constexpr (requires { Kernel::is_chain; }) {
      refuse_chain();
    } else {
      std::unique_ptr<DeviceEngine> engine;
      if (in_float(options.precision))
        engine = std::make_unique<KernelEngine<Kernel, float, Lane>>(kernel, coefficients, statistics, components, options);
      else
        engine = std::make_unique<KernelEngine<Kernel, double, Lane>>(kernel, coefficients, statistics, components, options);
      return std::make_unique<BoundDeviceModel>(std::move(engine), statistics, components, options);
    }
  }
};

}  // namespace tally
