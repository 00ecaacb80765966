#include "launch/cluster/cpu_list.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <string_view>

#include "core/error.hpp"

namespace tally {
namespace {

constexpr int most_processors = 1 << 16;

bool read_number(std::string_view text, int& number) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  return failure == std::errc() && end == text.data() + text.size() && number >= 0 && number < most_processors;
}

}  // namespace

std::string format_cpu_list(const std::vector<int>& processors) {
  std::vector<int> sorted = processors;
  std::sort(sorted.begin(), sorted.end());
  std::string text;
  for (std::size_t i = 0; i < sorted.size();) {
    std::size_t last = i;
    while (last + 1 < sorted.size() && sorted[last + 1] == sorted[last] + 1) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(sorted[i]);
    if (last > i) text += "-" + std::to_string(sorted[last]);
    i = last + 1;
  }
  return text;
}

std::vector<int> parse_cpu_list(const std::string& text) {
  std::vector<int> processors;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const auto dash = part.find('-');
    int first = 0, last = 0;
    const bool reads = read_number(std::string_view(part).substr(0, dash), first) &&
                       (dash == std::string::npos || read_number(std::string_view(part).substr(dash + 1), last));
    if (dash == std::string::npos) last = first;
    const bool fits = static_cast<int>(processors.size()) + last - first < most_processors;
    if (!reads || last < first || !fits) throw UsageError("'" + text + "' is no list of processors; write 0-3,8");
    for (int processor = first; processor <= last; ++processor) processors.push_back(processor);
  }
  return processors;
}

}  // namespace tally
