#include "core/last_words.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>

#include <poll.h>
#include <unistd.h>

namespace tally {

void last_words(std::string_view text) noexcept {
  constexpr std::size_t never_blocks = PIPE_BUF;  // what a pipe takes once it takes anything
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!text.empty()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd target{STDERR_FILENO, POLLOUT, 0};
    const int ready = left.count() > 0 ? poll(&target, 1, static_cast<int>(left.count())) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0 || !(target.revents & POLLOUT)) return;
    const ssize_t written = write(STDERR_FILENO, text.data(), std::min(text.size(), never_blocks));
    if (written < 0 && errno != EINTR && errno != EAGAIN) return;
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace tally
