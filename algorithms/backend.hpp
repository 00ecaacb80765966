#pragma once
#include <memory>

#include "algorithms/bound_chain_model.hpp"
#include "algorithms/bound_model.hpp"
#if defined(TALLY_BACKEND_CUDA)
#include "algorithms/kernel_engine.hpp"
#include "core/backends/cuda_lane.hpp"
#elif defined(TALLY_BACKEND_GENERIC)
#include "algorithms/kernel_engine.hpp"
#include "core/backends/generic_lane.hpp"
#endif

namespace tally {

// What a source's models run on. A source is compiled once for each backend; classes that bind take the
// backend as a template parameter, so that the two compilations never share a name.
struct CpuBackend {
  template <class Kernel>
  static std::unique_ptr<BoundModel> bind_kernel(const Kernel& kernel, const Coefficients& coefficients,
                                                 const Layout& statistics, Index components,
                                                 const BindOptions& options) {
    if constexpr (requires { Kernel::is_chain; })
      return bind_chain_to_cpu(kernel, coefficients, statistics, options);
    else
      return bind_to_cpu(kernel, coefficients, statistics, components, options);
  }
};

[[noreturn]] inline void refuse_chain() {
  throw DeviceError("hidden Markov models run on the CPU alone so far; use --device cpu");
}

#if defined(TALLY_BACKEND_CUDA)
struct CudaBackend {
  template <class Kernel>
  static std::unique_ptr<BoundModel> bind_kernel(const Kernel& kernel, const Coefficients& coefficients,
                                                 const Layout& statistics, Index components,
                                                 const BindOptions& options) {
    if constexpr (requires { Kernel::is_chain; })
      refuse_chain();
    else
      return bind_to_lanes<CudaLane>(kernel, coefficients, statistics, components, options);
  }
};
using Backend = CudaBackend;
#elif defined(TALLY_BACKEND_GENERIC)
// What a GPU runs, as plain loops on the host.
struct GenericBackend {
  template <class Kernel>
  static std::unique_ptr<BoundModel> bind_kernel(const Kernel& kernel, const Coefficients& coefficients,
                                                 const Layout& statistics, Index components,
                                                 const BindOptions& options) {
    if constexpr (requires { Kernel::is_chain; })
      refuse_chain();
    else
      return bind_to_lanes<GenericLane>(kernel, coefficients, statistics, components, options);
  }
};
using Backend = GenericBackend;
#else
using Backend = CpuBackend;
#endif

}  // namespace tally
