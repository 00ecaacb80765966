#pragma once
#include <cstddef>
#include <functional>
#include <span>

#include "comm/communicator.hpp"
#include "core/device_collective.hpp"

namespace tally {

// Starts `operation` and waits until it is done on this rank. Where that fails here it aborts the operation, tells all
// ranks and throws the error, which names the rank: DeviceError, or CommunicationError where a peer was lost or no rank
// gets on. Ranks that were told abort theirs and throw the same error as a RelayedFailure. Collective.
void wait_for(DeviceCollective& operation, Communicator& communicator);

// Fills `id`, by which the ranks' devices find each other, on all ranks: rank 0 makes it. Where that fails all ranks
// throw the same error. Collective.
void share_id(std::span<std::byte> id, const std::function<void(std::span<std::byte>)>& make,
              Communicator& communicator);

}  // namespace tally
