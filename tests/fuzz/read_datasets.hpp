#pragma once
#include <string>

namespace tally::fuzz {

// Lists the data sets of a file and reads the first few as rows, as arrays and together.
void read_datasets(const std::string& file);

}  // namespace tally::fuzz
