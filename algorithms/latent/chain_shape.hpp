#pragma once
#include "core/view.hpp"

namespace tally {

// What a chain is, to those who run it.
struct ChainShape {
  Index states = 0;
  Index mixtures = 1;
  bool count_transitions = false;  // whether given labels count as transitions

  Index components() const { return states * mixtures; }
};

// Up to so many states the pieces of a cut sequence are composed, all at once, as matrices (K, K), which takes K times the
// operations of a recursion; beyond, messages (K) pass from piece to piece in order.
inline constexpr Index most_composed_states = 16;

}  // namespace tally
