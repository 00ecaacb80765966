#pragma once
#include <string>
#include <vector>

#include "core/view.hpp"

namespace tally {

class IoExecutor;

// A file that holds some rows of a data set.
struct SplitPart {
  std::string file;  // its name, in the folder of the one that leads to it
  Index first_row = 0, rows = 0;
};

// Writes a file of virtual data sets, each leading to the data sets of the same path in the parts, which hold each row once
// and are there already. A kill leaves no half of it. Throws DataError.
void write_split_file(IoExecutor& io, const std::string& file, const std::vector<std::string>& paths,
                      const std::vector<SplitPart>& parts);

}  // namespace tally
