#pragma once
#include <string>
#include <vector>

#include "core/hdf5_rows.hpp"

namespace tally {

// Reads "FILE:/PATH", or "FILE" alone, which means `default_path` in it.
DatasetName parse_output(const std::string& text, const std::string& default_path);

// Writing replaces a whole file, so it must be none that is read. `inputs` are files or data sets; globs are matched.
// Throws UsageError.
void refuse_to_replace(const std::string& file, const std::vector<std::string>& inputs);

}  // namespace tally
