#pragma once
#include <memory>

#include "algorithms/bound_chain_model.hpp"
#include "algorithms/bound_model.hpp"
#if defined(TALLY_BACKEND_CUDA)
#include "algorithms/lane_backend.hpp"
#include "core/backends/cuda_lane.hpp"
#elif defined(TALLY_BACKEND_GENERIC)
#include "algorithms/lane_backend.hpp"
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

#if defined(TALLY_BACKEND_CUDA)
using Backend = LaneBackend<CudaLane>;
#elif defined(TALLY_BACKEND_GENERIC)
// What a GPU runs, as plain loops on the host.
using Backend = LaneBackend<GenericLane>;
#else
using Backend = CpuBackend;
#endif

}  // namespace tally
