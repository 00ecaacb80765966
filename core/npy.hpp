#pragma once
#include <memory>
#include <string>

#include "core/rows.hpp"

namespace tally {

// The array of a .npy file (formats 1, 2 and 3) of one dimension (a column) or two, C or Fortran order: floats of 4
// or 8 bytes, integers of 1 to 8, booleans, either byte order. Throws DataError: missing or truncated file, no .npy
// file, another type or rank.
class NpyRows final : public RowSource {
 public:
  explicit NpyRows(const std::string& file);
  ~NpyRows() override;

  Index rows() const noexcept override;
  Index columns() const noexcept override;
  bool fits_float() const noexcept override;
  void read(Index first, Index count, double* out) const override;
  std::string where(Index row) const override;
  std::string name() const override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tally
