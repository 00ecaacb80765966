#pragma once
#include <string_view>

namespace tally {

// Writes to standard error what is said before a process ends. Not by stdio, whose lock another thread may hold while it waits
// for a reader that stands still; for the same reason it gives up after five seconds.
void last_words(std::string_view text) noexcept;

}  // namespace tally
