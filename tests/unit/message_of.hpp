#pragma once
#include <functional>
#include <string>

#include <gtest/gtest.h>

namespace tally {

// The message of the E that `action` throws; a test failure where it throws none.
template <class E>
std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const E& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

}  // namespace tally
