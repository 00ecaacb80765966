#pragma once
#include <algorithm>
#include <string>
#include <utility>

#include "core/rows.hpp"

namespace tally {

// Rows that a program holds in memory: (rows, columns) doubles, row-major, which must outlive the view.
class MemoryRows final : public RowSource {
 public:
  explicit MemoryRows(MatrixView<const double> values, std::string name = "memory")
      : values_(values), name_(std::move(name)) {}

  Index rows() const noexcept override { return values_.rows; }
  Index columns() const noexcept override { return values_.cols; }
  bool fits_float() const noexcept override { return false; }
  void read(Index first, Index count, double* out) const override {
    for (Index i = 0; i < count; ++i)
      std::copy_n(values_.row(first + i), values_.cols, out + i * values_.cols);
  }
  std::string where(Index row) const override { return name_ + " row " + std::to_string(row); }
  std::string name() const override { return name_; }

 private:
  MatrixView<const double> values_;
  std::string name_;
};

}  // namespace tally
