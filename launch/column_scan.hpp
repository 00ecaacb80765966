#pragma once
#include <functional>
#include <string>
#include <vector>

#include "core/io_executor.hpp"
#include "core/rows.hpp"

namespace tally {

// What one pass over the rows tells of the columns.
struct ColumnSummary {
  double minimum = 0, mean = 0, maximum = 0;  // of the finite values; NaN where there are none
  Index not_finite = 0;
};
struct DataScan {
  std::vector<ColumnSummary> columns;
  Index not_finite = 0;
  std::string first_not_finite;  // where, in words
};

// `pulse` is called now and then. The sums are exact, so the means are the same on any number of lanes. Throws DataError.
DataScan scan_columns(IoExecutor& io, const RowSource& rows, int lanes, const std::function<void()>& pulse);

}  // namespace tally
