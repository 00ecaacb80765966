#pragma once
#include <simgrid/s4u/Actor.hpp>

namespace tally {

// Stands in the place of comm's own while its sources are compiled for the simulation: what a polling loop does between two
// looks passes simulated time. Collectives are not polled here (see collectives.hpp).
class Backoff {
 public:
  void pause() { simgrid::s4u::this_actor::sleep_for(50e-6); }
};

}  // namespace tally
