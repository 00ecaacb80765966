#pragma once
#include <string>

#include "core/view.hpp"

namespace tally {

// A data set of `rows()` x `columns()` numbers, read piecewise as doubles. Reading is thread-compatible: one
// call at a time (files are read through an IoExecutor).
class RowSource {
 public:
  virtual ~RowSource() = default;
  virtual Index rows() const noexcept = 0;
  virtual Index columns() const noexcept = 0;
  // Whether every element is exactly a float (float32 or an integer of at most 16 bits on disk).
  virtual bool fits_float() const noexcept = 0;
  // Writes rows [first, first + count) to `out` (count, columns()), row-major. Throws DataError.
  virtual void read(Index first, Index count, double* out) const = 0;
  // How a person finds a row: "features.h5:/x row 77". With several files, the file's own row number.
  virtual std::string where(Index row) const = 0;
  // What the whole is called in messages: "features.h5:/x".
  virtual std::string name() const = 0;
};

}  // namespace tally
