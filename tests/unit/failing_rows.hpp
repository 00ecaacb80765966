#pragma once
#include <atomic>

#include "core/error.hpp"
#include "core/wrapped_rows.hpp"

namespace tally {

// Rows that cannot be read once `reads_allowed` reads have touched row `bad_row`.
class FailingRows final : public WrappedRows {
 public:
  FailingRows(const RowSource& rows, Index bad_row, int reads_allowed = 0)
      : WrappedRows(rows), bad_row_(bad_row), reads_allowed_(reads_allowed) {}

  void read(Index first, Index count, double* out) const override {
    if (first <= bad_row_ && bad_row_ < first + count && reads_++ >= reads_allowed_)
      throw DataError(where(bad_row_) + " cannot be read");
    WrappedRows::read(first, count, out);
  }

 private:
  Index bad_row_;
  int reads_allowed_;
  mutable std::atomic<int> reads_ = 0;
};

}  // namespace tally
