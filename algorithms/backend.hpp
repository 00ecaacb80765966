#pragma once
#if defined(TALLY_BACKEND_CUDA)
#include "algorithms/lane_backend.hpp"
#include "core/backends/cuda_lane.hpp"
#elif defined(TALLY_BACKEND_GENERIC)
#include "algorithms/lane_backend.hpp"
#include "core/backends/generic_lane.hpp"
#else
#include "algorithms/cpu_backend.hpp"
#endif

namespace tally {

// What a source's models run on. A source is compiled once for each backend, and what it makes of kernels has the backend's
// lane in its name; but functions that make models have one name in all of them, so modules export none (tally_add_module).
#if defined(TALLY_BACKEND_CUDA)
using Backend = LaneBackend<CudaLane>;
#elif defined(TALLY_BACKEND_GENERIC)
// What a GPU runs, as plain loops on the host.
using Backend = LaneBackend<GenericLane>;
#else
using Backend = CpuBackend;
#endif

}  // namespace tally
