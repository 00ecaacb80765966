#include "launch/output.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <filesystem>
#include <set>

#include "core/error.hpp"

namespace tally {
namespace {

std::string file_part(const std::string& text) { return text.substr(0, text.rfind(":/")); }

}  // namespace

DatasetName parse_output(const std::string& text, const std::string& default_path) {
  if (text.find(":/") == std::string::npos) return {text, default_path};
  return parse_dataset_name(text);
}

void refuse_to_replace(const std::string& file, const std::vector<std::string>& inputs) {
  for (const std::string& input : inputs) {
    std::error_code ignored;
    const std::string read = file_part(input);
    if (std::filesystem::equivalent(file, read, ignored) || fnmatch(read.c_str(), file.c_str(), FNM_PATHNAME) == 0)
      throw UsageError(file + " is read from and would be replaced as a whole; write to another file");
  }
}

void refuse_to_share(const std::vector<std::string>& outputs, const std::vector<std::string>& inputs) {
  std::set<std::filesystem::path> taken;
  for (const std::string& file : outputs) {
    if (file.empty()) continue;
    refuse_to_replace(file, inputs);
    std::error_code ignored;
    if (!taken.insert(std::filesystem::weakly_canonical(file, ignored)).second)
      throw UsageError(file + " is named for two results; write them to different files");
  }
}

std::string hex_text(std::uint64_t value) { return fmt::format("{:016x}", value); }

}  // namespace tally
