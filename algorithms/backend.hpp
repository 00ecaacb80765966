#pragma once
#include <memory>

#include "algorithms/bound_model.hpp"
#if defined(TALLY_BACKEND_CUDA)
#include "algorithms/bound_cuda_model.hpp"
#endif

namespace tally {

// What a source's models run on. A source is compiled once for each backend; classes that bind take the
// backend as a template parameter, so that the two compilations never share a name.
struct CpuBackend {
  template <class Kernel>
  static std::unique_ptr<BoundModel> bind_kernel(const Kernel& kernel, const Coefficients& coefficients,
                                                 const Layout& statistics, Index components,
                                                 const BindOptions& options) {
    return bind_to_cpu(kernel, coefficients, statistics, components, options);
  }
};

#if defined(TALLY_BACKEND_CUDA)
struct CudaBackend {
  template <class Kernel>
  static std::unique_ptr<BoundModel> bind_kernel(const Kernel& kernel, const Coefficients& coefficients,
                                                 const Layout& statistics, Index components,
                                                 const BindOptions& options) {
    return bind_to_cuda(kernel, coefficients, statistics, components, options);
  }
};
using Backend = CudaBackend;
#else
using Backend = CpuBackend;
#endif

}  // namespace tally
