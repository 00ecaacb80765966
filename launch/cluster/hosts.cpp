#include "launch/cluster/hosts.hpp"

#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>
#include <string_view>

#include "core/error.hpp"

namespace tally {
namespace {

constexpr int most_hosts = 1 << 16;
constexpr const char* blanks = " \t\r\f\v";

int parse_slots(const std::string& text, const std::string& whole) {
  int slots = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), slots);
  if (failure != std::errc() || end != text.data() + text.size() || slots < 1)
    throw UsageError("'" + whole + "' does not say how many ranks a host takes; write name:4");
  return slots;
}

Host parse_host(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos) return {text, 0};
  return {text.substr(0, colon), parse_slots(text.substr(colon + 1), text)};
}

std::vector<Host> checked(std::vector<Host> hosts, const std::string& source) {
  if (hosts.empty()) throw UsageError(source + " names no host");
  std::set<std::string> names;
  for (const Host& host : hosts) {
    if (host.name.empty() || host.name.front() == '-' || host.name.find_first_of(blanks) != std::string::npos)
      throw UsageError("'" + host.name + "' is no name of a host");
    if (!names.insert(host.name).second)
      throw UsageError("host " + host.name + " is named twice; write " + host.name + ":2 for two ranks");
  }
  return hosts;
}

// A line of a hostfile as mpirun reads it: up to a #, and `slots = 4` is `slots=4`.
std::string words_of_line(const std::string& line) {
  std::string words;
  for (const char c : line.substr(0, line.find('#'))) {
    if (c == '=') words.erase(words.find_last_not_of(blanks) + 1);
    else if (std::string_view(blanks).find(c) != std::string_view::npos && words.ends_with('=')) continue;
    words += c;
  }
  return words;
}

// "[01-03,7]" of a Slurm list as "01", "02", "03", "7".
std::vector<std::string> expand_numbers(const std::string& ranges, const std::string& whole) {
  const auto fail = [&] { throw UsageError("'" + whole + "' is no list of Slurm's nodes"); };
  std::vector<std::string> numbers;
  std::istringstream parts(ranges);
  for (std::string part; std::getline(parts, part, ',');) {
    const auto dash = part.find('-');
    const std::string first = part.substr(0, dash), last = dash == std::string::npos ? first : part.substr(dash + 1);
    long from = 0, to = 0;
    const auto read = [&](const std::string& text, long& value) {
      const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (failure != std::errc() || end != text.data() + text.size() || value < 0) fail();
    };
    read(first, from);
    read(last, to);
    if (to < from || to - from >= most_hosts) fail();
    for (long number = from; number <= to; ++number) {
      const std::string digits = std::to_string(number);
      numbers.push_back(std::string(first.size() > digits.size() ? first.size() - digits.size() : 0, '0') + digits);
    }
  }
  if (numbers.empty()) fail();
  return numbers;
}

}  // namespace

std::vector<Host> parse_hosts(const std::string& text) {
  std::vector<Host> hosts;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) hosts.push_back(parse_host(part));
  return checked(std::move(hosts), "'" + text + "'");
}

std::vector<Host> parse_hostfile(const std::string& text) {
  std::vector<Host> hosts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::string read = words_of_line(line);
    std::istringstream words(read);
    std::string name;
    if (!(words >> name)) continue;
    Host host = parse_host(name);
    for (std::string word; words >> word;) {
      if (word.starts_with("slots=")) host.slots = parse_slots(word.substr(6), read);
      else if (!word.starts_with("max_slots=") && !word.starts_with("max-slots="))
        throw UsageError("'" + word + "' in the hostfile's line '" + read +
                         "' is not understood; write a host a line, as name slots=4");
    }
    hosts.push_back(std::move(host));
  }
  return checked(std::move(hosts), "the hostfile");
}

std::vector<Host> parse_slurm_nodes(const std::string& text) {
  std::vector<Host> hosts;
  for (std::size_t at = 0; at < text.size();) {
    const auto open = text.find('[', at), comma = text.find(',', at);
    if (open == std::string::npos || comma < open) {
      hosts.push_back({text.substr(at, comma - at), 0});
      at = comma == std::string::npos ? text.size() : comma + 1;
      continue;
    }
    const auto close = text.find(']', open);
    if (close == std::string::npos) throw UsageError("'" + text + "' is no list of Slurm's nodes");
    const auto end = std::min(text.find(',', close), text.size());
    const std::string before = text.substr(at, open - at), after = text.substr(close + 1, end - close - 1);
    for (const std::string& number : expand_numbers(text.substr(open + 1, close - open - 1), text))
      hosts.push_back({before + number + after, 0});
    at = end + 1;
  }
  return checked(std::move(hosts), "SLURM_JOB_NODELIST");
}

}  // namespace tally
