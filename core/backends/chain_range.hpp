#pragma once

namespace tally {

// How far apart the probabilities of states may lie in the recursions of hidden Markov chains (chain.hpp, generic_chain.hpp).
template <class Real>
struct ChainRange {
  static constexpr bool in_float = sizeof(Real) == 4;
  // What a step loses by underflow, of a state's alpha or emission, is below `smallest`, relative to the scale of the step. If
  // beta over the scale is at most `farthest` for every state, all that could come of it does not count. Nor do emissions and
  // w's that are raised to `smallest`, so that beta is never below its true value, nor 0 because of what underflowed on its way.
  static constexpr Real smallest = in_float ? Real(0x1p-112) : Real(0x1p-1008);
  static constexpr Real farthest = in_float ? Real(0x1p72) : Real(0x1p880);
  // By how much rounding alone may let the sum of gamma leave 1 between two corrections.
  static constexpr Real rounding = in_float ? Real(0x1p-10) : Real(0x1p-30);
  // Where every transition is at least as likely, each state gets from another what makes its own loss negligible.
  static constexpr Real mixing = in_float ? Real(0x1p-33) : Real(0x1p-470);
};

}  // namespace tally
