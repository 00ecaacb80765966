#pragma once
#include <charconv>
#include <string>

namespace tally {

// The shortest text that reads back as the same number.
inline std::string option_text(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

}  // namespace tally
