// What every model shares on NVIDIA GPUs: the engines and their kernels.
#include "algorithms/lane_engines.hpp"
#include "core/backends/cuda_lane.hpp"

namespace tally {

template struct LaneBackend<CudaLane>;

}  // namespace tally
