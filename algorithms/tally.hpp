#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/exact_sum.hpp"
#include "core/full_range_sum.hpp"
#include "core/layout.hpp"

namespace tally {

// How statistics are summed. Plain doubles depend on ranks and threads: they exist to measure what exactness costs
// and to show that it is needed.
enum class Summation { exact, plain };

// The one flat buffer of an iteration: counts, then for each candidate its objective and its statistics, all integers.
// Lanes add blocks to a tally of their own, lanes and ranks are merged by adding elements.
class Tally {
 public:
  // Counters that ride in every collective.
  enum Counter : int { rows, failures, misfits, stop_requests, hash_0, hash_1, hash_2, square_0, square_1,
                       square_2, counter_count };

  // `grids`: one for each field of `statistics`.
  Tally(int candidates, const Layout& statistics, std::vector<Grid> grids, Summation summation = Summation::exact);

  void reset();
  // Adds one block's objective and statistics (statistics.size()) of a candidate.
  void add_block(int candidate, double objective, std::span<const double> statistics);
  void add_rows(Index count) { counter(rows) += count; }
  // For sums that were made elsewhere: a block's objective, and what happened while statistics of a field were added.
  void add_objective(int candidate, double objective);
  void add_report(int candidate, std::size_t field, const GridReport& report);
  // Adds another lane's tally of this rank.
  void merge(const Tally& other);
  // Brings the buffer into the form in which ranks may be added element by element, and back after it.
  void carry();

  std::int64_t& counter(Counter which) { return buffer_[static_cast<std::size_t>(which)]; }
  std::int64_t counter(Counter which) const { return buffer_[static_cast<std::size_t>(which)]; }
  // What the allreduce sums.
  std::span<std::int64_t> buffer() noexcept { return buffer_; }
  // What it sums besides where the summation is plain; else empty.
  std::span<double> plain_buffer() noexcept { return plain_; }
  // Where the buffer of a tally has what its blocks add for a candidate: the count of values that were not finite, the
  // limbs of the objective, high and low limbs of the statistics.
  struct Place {
    Index non_finite, objective, high, low, end;
  };
  static Place place_of(int candidate, const Layout& statistics) noexcept {
    const Index size = statistics.size();
    const Index first = counter_count + candidate * (1 + FullRangeSum::limb_count + 2 * size);
    const Index high = first + 1 + FullRangeSum::limb_count;
    return {first, first + 1, high, high + size, high + 2 * size};
  }
  static Index buffer_size(int candidates, const Layout& statistics) noexcept {
    return place_of(candidates, statistics).non_finite;
  }

  // Of this rank alone: what a repeat of the pass needs, field by field.
  const std::vector<GridReport>& reports() const noexcept { return reports_; }
  const std::vector<Grid>& grids() const noexcept { return grids_; }
  Summation summation() const noexcept { return summation_; }
  void set_grids(std::vector<Grid> grids) { grids_ = std::move(grids); }

  // Objectives and statistics of blocks that were infinite or NaN, and were not added.
  std::int64_t non_finite(int candidate) const {
    return buffer_[static_cast<std::size_t>(place_of(candidate, *layout_).non_finite)];
  }
  double objective(int candidate) const;
  // Writes the sums of a candidate (statistics.size()).
  void statistics(int candidate, std::span<double> out) const;

 private:
  std::span<std::int64_t> objective_limbs(int candidate);
  std::span<std::int64_t> limbs(int candidate, int which);
  std::span<const std::int64_t> limbs(int candidate, int which) const;

  int candidates_;
  const Layout* layout_;
  std::vector<Grid> grids_;
  Summation summation_;
  Index additions_ = 0;
  std::vector<std::int64_t> buffer_;
  std::vector<FullRangeSum> objectives_;  // while blocks are added; `carry` moves them to the buffer
  std::vector<double> plain_;
  std::vector<GridReport> reports_;
};

}  // namespace tally
