#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/hdf5_rows.hpp"

namespace tally {

// Reads "FILE:/PATH", or "FILE" alone, which means `default_path` in it.
DatasetName parse_output(const std::string& text, const std::string& default_path);

// Writing replaces a whole file, so it must be none that is read. `inputs` are files or data sets; globs are matched.
// Throws UsageError.
void refuse_to_replace(const std::string& file, const std::vector<std::string>& inputs);
// Output files, empty ones left out, must differ from each other, too. Throws UsageError.
void refuse_to_share(const std::vector<std::string>& outputs, const std::vector<std::string>& inputs);

// File names need not be UTF-8; JSON must be.
template <class Json>
std::string json_text(const Json& value, int indent = -1) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

// 16 digits.
std::string hex_text(std::uint64_t value);

}  // namespace tally
