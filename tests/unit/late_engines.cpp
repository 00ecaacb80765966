#include "algorithms/lane_engines.hpp"
#include "tests/unit/late_lane.hpp"

namespace tally {

template struct LaneBackend<LateLane>;

}  // namespace tally
