#pragma once
#include <chrono>
#include <functional>
#include <vector>

#include "comm/communicator.hpp"

namespace tally {

struct ThreadWorldOptions {
  // How long a rank may give no sign of life while others wait for it.
  std::chrono::milliseconds timeout = std::chrono::seconds(60);
  // How many ranks each host has, hosts "node0", "node1", ... in rank order; empty: all ranks on one.
  std::vector<int> ranks_per_node = {};
};

// Runs `body` on `size` ranks, each a thread of this process, and returns when all have ended: a world for tests.
// A rank that throws, leaves early or goes silent ends the collectives of the others with a CommunicationError;
// ranks that enter different collectives, or the same one with different lengths, all get an Error that names both.
// Rethrows what was thrown first. Throws UsageError where the options contradict `size`.
void run_in_threads(int size, const std::function<void(Communicator&)>& body,
                    const ThreadWorldOptions& options = {});

}  // namespace tally
