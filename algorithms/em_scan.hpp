#pragma once
#include <cstdint>
#include <vector>

#include "algorithms/known_rows.hpp"
#include "algorithms/model.hpp"
#include "comm/communicator.hpp"
#include "core/shard.hpp"

namespace tally {

// Rows chosen by seed alone, which every rank holds: what initialisation looks at. All rows where there are few.
struct Sample {
  std::vector<double> values;   // (size, D), the user's units; the column's mean where a value is missing
  std::vector<double> weights;  // (size)
  std::vector<double> observed;  // (size, D), NaN where a value is missing; empty: none is
  const std::vector<double>& as_observed() const noexcept { return observed.empty() ? values : observed; }
  Index size() const noexcept { return static_cast<Index>(weights.size()); }
};

struct Scan {
  DataSummary summary;
  Sample sample;
  KnownRows known;
  std::uint64_t content = 0;  // hash of every row with its number: values, weight, what is given
};

// How many rows initialisation holds for this many components: enough for k-means++, little enough for every rank.
Index sample_size(Index rows, Index columns, Index components);

// The first look at the data: exact sums, extremes, the first bad row, and the sample. One sum_and_max.
// Missing rows count as rows, but in no sum, no extreme and no total weight; in the sample they weigh 0.
// Where `known_components` is not 0, what was given are labels of so many components, and one sum more brings a few rows
// of each known one.
// Missing values, of a domain that takes them, are in no column's sum, extreme or weight.
// Throws DataError: NaN or infinity (row and column named), a negative weight, a value outside `domain`, no rows of
// positive weight, a column without any value. Collective.
Scan scan(Shard& shard, Domain domain, Index sample_rows, std::uint64_t seed, Communicator& communicator,
          Index known_components = 0);

// Centre: the mean, or 0 where scaling is from there; scale: the smallest power of two that brings every value below 1 in
// magnitude. Without a centre the mean is the reference.
Standardisation standardise_for(Scaling scaling, const DataSummary& summary);

}  // namespace tally
