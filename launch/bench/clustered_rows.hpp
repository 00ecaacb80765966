#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "algorithms/domain.hpp"
#include "core/philox.hpp"
#include "core/rows.hpp"

namespace tally::bench {

// Random rows around planted centres, made as they are read and so held by nobody: unit normals about centres of spread 3,
// Poisson counts, or symbols of which each component prefers one, as the domain asks.
class ClusteredRows final : public RowSource {
 public:
  ClusteredRows(Domain domain, Index rows, Index columns, Index components, std::uint64_t seed);

  Index rows() const noexcept override { return rows_; }
  Index columns() const noexcept override { return columns_; }
  bool fits_float() const noexcept override { return false; }
  void read(Index first, Index count, double* out) const override;
  std::string where(Index row) const override { return "random row " + std::to_string(row); }
  std::string name() const override { return "random rows"; }

 private:
  double draw(double centre, std::uint64_t row, Index column) const;

  Domain domain_;
  Index rows_, columns_, components_;
  RandomKey key_, centre_key_;
  std::vector<double> centres_;  // (K, D)
};

}  // namespace tally::bench
