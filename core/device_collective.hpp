#pragma once

namespace tally {

// What a look at a pending operation found.
enum class CollectiveState {
  working,  // this rank's own part is still being computed
  waiting,  // this rank has done its part
  done,
};

// An operation that the devices of all ranks do together, such as the sum of the statistics where they are. It runs
// beside the host, which starts it and looks again and again. Calls come from one thread. The host's side, with the
// deadlines, is wait_for() of comm.
class DeviceCollective {
 public:
  virtual ~DeviceCollective() = default;

  // What it is called in messages: "the sum on the devices". Lives as long as the program.
  virtual const char* name() const noexcept = 0;
  // Begins it and returns at once. Throws DeviceError. Collective.
  virtual void start() = 0;
  // Looks, without waiting. Throws DeviceError where the device or its library reports an error, also one of a peer.
  virtual CollectiveState poll() = 0;
  // Makes what is pending end soon, so that nothing hangs; no start succeeds afterwards. May be called twice.
  virtual void abort() noexcept = 0;
};

}  // namespace tally
