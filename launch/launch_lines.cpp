#include "launch/launch_lines.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <filesystem>
#include <utility>

namespace tally {

void note(const std::string& text) { fmt::print(stderr, "tally launch: {}\n", text); }

void note_left(const std::vector<int>& processes) {
  if (processes.size() == 1)
    note(fmt::format("process {} cannot be ended: it waits for a disk or a network file system to answer", processes.front()));
  else if (!processes.empty())
    note(fmt::format("processes {} cannot be ended: they wait for a disk or a network file system to answer",
                     fmt::join(processes, ", ")));
}

void print(const StartLine& line, std::FILE* to) {
  for (const auto& [name, value] : line.environment) fmt::print(to, "{}={}\n", name, quoted({value}));
  fmt::print(to, "{}\n", quoted(line.words));
}

StartLine without_users_own(StartLine line) {
  std::erase_if(line.environment, [](const auto& variable) {
    return variable.first.starts_with("OMPI_") && std::getenv(variable.first.c_str());
  });
  return line;
}

std::string this_program() {
  static const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  return program;
}

Output uninterrupted(const StartLine& line, std::chrono::seconds at_most) {
  Output output = output_of(line, at_most);
  note_left(output.left);
  if (output.interrupted_by > 0) throw Interrupted{output.interrupted_by};
  return output;
}

}  // namespace tally
