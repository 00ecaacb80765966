#pragma once
#include <string>

#include "core/rows.hpp"

namespace tally {

// The rows of another source, which must outlive this: a base of sources that differ in little.
class WrappedRows : public RowSource {
 public:
  explicit WrappedRows(const RowSource& rows) : rows_(rows) {}

  Index rows() const noexcept override { return rows_.rows(); }
  Index columns() const noexcept override { return rows_.columns(); }
  bool fits_float() const noexcept override { return rows_.fits_float(); }
  void read(Index first, Index count, double* out) const override { rows_.read(first, count, out); }
  std::string where(Index row) const override { return rows_.where(row); }
  std::string name() const override { return rows_.name(); }

 private:
  const RowSource& rows_;
};

}  // namespace tally
