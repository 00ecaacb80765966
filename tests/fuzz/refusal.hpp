#pragma once
#include "core/error.hpp"

namespace tally::fuzz {

// Runs what may refuse its input. An Error of any other kind says nothing that helps a user with a file: it is a finding.
template <class Reading>
void allow_refusal(Reading reading) {
  try {
    reading();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::usage && error.kind() != ErrorKind::data) throw;
  }
}

}  // namespace tally::fuzz
