#include "algorithms/lane_engines.hpp"
#include "core/backends/generic_lane.hpp"

namespace tally {

template struct LaneBackend<GenericLane>;

}  // namespace tally
