#include "launch/option_checks.hpp"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <string>

namespace tally {
namespace {

// `right` tells whether a number of this type is one; `words` say which are.
template <class Number, class Right>
CLI::Validator check_of(const std::string& words, const std::string& help, const Right& right) {
  return {[words, right](const std::string& text) {
            Number value{};
            const bool read = CLI::detail::lexical_cast(text, value);
            return read && right(value) ? std::string() : fmt::format("{} is not {}", text, words);
          },
          help};
}

}  // namespace

CLI::Validator whole_number_from(Index least) {
  return check_of<Index>(fmt::format("a whole number from {} on", least), fmt::format("from {}", least),
                         [least](Index value) { return value >= least; });
}

CLI::Validator number_from(double least, double most) {
  const bool bounded = most < std::numeric_limits<double>::infinity();
  return check_of<double>(fmt::format("a number from {} {}", least, bounded ? fmt::format("to {}", most) : "on"),
                          fmt::format("from {}{}", least, bounded ? fmt::format(" to {}", most) : ""),
                          [=](double value) { return value >= least && value <= most; });
}

}  // namespace tally
