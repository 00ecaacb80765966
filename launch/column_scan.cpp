#include "launch/column_scan.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/full_range_sum.hpp"
#include "core/shard.hpp"

namespace tally {
namespace {

// What was seen of each column; sums are exact, so that threads may merge theirs in any order.
struct Seen {
  std::vector<FullRangeSum> sums;
  std::vector<double> minimum, maximum;
  std::vector<Index> not_finite;
  Index first_bad = std::numeric_limits<Index>::max();  // row D + column

  explicit Seen(std::size_t D)
      : sums(D),
        minimum(D, std::numeric_limits<double>::infinity()),
        maximum(D, -std::numeric_limits<double>::infinity()),
        not_finite(D) {}

  void add(const StoredBlock& block) {
    const auto D = static_cast<Index>(sums.size());
    for (Index i = 0; i < block.rows * D; ++i) {
      const auto d = static_cast<std::size_t>(i % D);
      const double x = block.raw[i];
      if (!sums[d].add(x)) {
        ++not_finite[d];
        first_bad = std::min(first_bad, block.first_row * D + i);
        continue;
      }
      minimum[d] = std::min(minimum[d], x);
      maximum[d] = std::max(maximum[d], x);
    }
  }
  void merge(const Seen& other) {
    for (std::size_t d = 0; d < sums.size(); ++d) {
      sums[d].merge(other.sums[d]);
      minimum[d] = std::min(minimum[d], other.minimum[d]);
      maximum[d] = std::max(maximum[d], other.maximum[d]);
      not_finite[d] += other.not_finite[d];
    }
    first_bad = std::min(first_bad, other.first_bad);
  }
};

}  // namespace

DataScan scan_columns(IoExecutor& io, const RowSource& rows, int lanes, const std::function<void()>& pulse) {
  const Index D = rows.columns();
  const BlockPlan plan = BlockPlan::uniform(rows.rows(), block_rows_for(D));
  Shard::Options options;
  options.memory_limit = 1;  // rows are needed once: none is kept
  options.lanes = lanes;
  Shard shard(io, Inputs{&rows, nullptr, nullptr}, plan, {0, plan.block_count()}, options);
  std::vector<Seen> seen(static_cast<std::size_t>(lanes), Seen(static_cast<std::size_t>(D)));
  shard.for_each_block(
      [&](int lane, const StoredBlock& block) { seen[static_cast<std::size_t>(lane)].add(block); }, pulse);
  Seen all(static_cast<std::size_t>(D));
  for (const Seen& lane : seen) all.merge(lane);

  DataScan result;
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  for (std::size_t d = 0; d < all.sums.size(); ++d) {
    const Index finite = rows.rows() - all.not_finite[d];
    ColumnSummary column{none, none, none, all.not_finite[d]};
    if (finite > 0)
      column = {all.minimum[d], all.sums[d].value() / static_cast<double>(finite), all.maximum[d], all.not_finite[d]};
    result.columns.push_back(column);
    result.not_finite += all.not_finite[d];
  }
  if (result.not_finite > 0)
    result.first_not_finite =
        rows.where(all.first_bad / D) + ", column " + std::to_string(all.first_bad % D);
  return result;
}

}  // namespace tally
