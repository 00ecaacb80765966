#pragma once
#include <string>
#include <vector>

#include "core/view.hpp"

namespace tally {

class IoExecutor;

// What a file says about one of its data sets.
struct DatasetInfo {
  std::string path;
  std::vector<Index> shape;   // empty: a single value
  std::string type;           // "float32", "int64", "text"
  std::vector<Index> chunks;  // empty: in one piece
  bool compressed = false;
};

// Every data set of an HDF5 file, sorted by path; those of a group to which several links lead under one of its names. Throws DataError.
std::vector<DatasetInfo> list_datasets(IoExecutor& io, const std::string& file);

}  // namespace tally
