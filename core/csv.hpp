#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/view.hpp"

namespace tally {

// Reads a table of numbers from text, a batch of rows at a time, in any locale. The first line with content decides
// the delimiter (tab, semicolon, comma or spaces, in this order) and the columns; it is a header where none of its
// cells is a number. Empty lines and what follows a '#' (at the start of a line or after a blank) are skipped. Cells
// may be in double quotes; "nan" and "inf" in any case are numbers. Throws DataError with file, line and column: an
// empty cell, no number, a line of another width.
class CsvReader {
 public:
  explicit CsvReader(const std::string& file);
  ~CsvReader();
  CsvReader(CsvReader&&) noexcept;
  CsvReader& operator=(CsvReader&&) noexcept;

  Index columns() const noexcept;
  // Names of the columns; empty where the file has no header.
  const std::vector<std::string>& header() const noexcept;
  // Counts the rows without parsing them, then starts again at the first.
  Index count_rows();
  // Puts the next rows, at most `most`, into `out` (returned rows, columns()), row-major; returns 0 at the end.
  Index read(Index most, std::vector<double>& out);
  void rewind();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tally
