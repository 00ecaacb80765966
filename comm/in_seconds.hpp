#pragma once
#include <chrono>
#include <string>

namespace tally {

// A time for messages, to a tenth of a second: "60 s", "0.4 s".
inline std::string in_seconds(std::chrono::milliseconds time) {
  std::string text = std::to_string(time.count() / 1000);
  if (const auto tenths = time.count() % 1000 / 100; tenths != 0) text += "." + std::to_string(tenths);
  return text + " s";
}

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace tally
