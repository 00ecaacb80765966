#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "algorithms/model.hpp"
#include "core/sequences.hpp"
#include "core/view.hpp"

namespace tally {

// Rows made in memory about known clusters, four of their widths apart on a grid, so that neighbours overlap a little.
struct PlantedRows {
  Index columns = 1, components = 1;
  std::vector<double> values;   // (rows, columns), of the domain asked for, a fifth NaN where it takes that
  std::vector<double> weights;  // (rows): 0, 1, 1/2 or 3, the same throughout a sequence; or empty
  std::shared_ptr<const Sequences> sequences;  // null: rows are independent
  std::vector<std::int32_t> clusters;  // (rows)

  Index rows() const noexcept { return static_cast<Index>(clusters.size()); }
  MatrixView<const double> matrix() const noexcept { return {values.data(), rows(), columns}; }
  // (rows): the clusters, every fifth of them drawn anew. Another `seed`, other ones.
  std::vector<double> blurred_labels(std::uint64_t seed) const;
};

PlantedRows plant_rows(Domain domain, Index rows, Index columns, Index components, bool weighted);
// Steps of sequences: every other step is about the cluster after that of the step before.
PlantedRows plant_rows(Domain domain, std::shared_ptr<const Sequences> sequences, Index columns, Index components,
                       bool weighted);

}  // namespace tally
