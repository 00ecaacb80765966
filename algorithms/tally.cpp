#include "algorithms/tally.hpp"

#include <algorithm>

namespace tally {

Tally::Tally(int candidates, const Layout& statistics, std::vector<Grid> grids, Summation summation)
    : candidates_(candidates), layout_(&statistics), grids_(std::move(grids)), summation_(summation) {
  buffer_.resize(static_cast<std::size_t>(buffer_size(candidates, statistics)));
  objectives_.resize(static_cast<std::size_t>(candidates));
  reports_.resize(layout_->fields().size());
  if (summation_ == Summation::plain) plain_.resize(static_cast<std::size_t>(candidates * (1 + layout_->size())));
}

void Tally::reset() {
  std::fill(buffer_.begin(), buffer_.end(), 0);
  std::fill(plain_.begin(), plain_.end(), 0.0);
  std::fill(objectives_.begin(), objectives_.end(), FullRangeSum());
  std::fill(reports_.begin(), reports_.end(), GridReport());
  additions_ = 0;
}

std::span<std::int64_t> Tally::objective_limbs(int candidate) {
  return std::span(buffer_).subspan(static_cast<std::size_t>(place_of(candidate, *layout_).objective),
                                    FullRangeSum::limb_count);
}

std::span<std::int64_t> Tally::limbs(int candidate, int which) {
  const Index first = place_of(candidate, *layout_).high + which * layout_->size();
  return std::span(buffer_).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(layout_->size()));
}

std::span<const std::int64_t> Tally::limbs(int candidate, int which) const {
  return const_cast<Tally*>(this)->limbs(candidate, which);
}

void Tally::add_block(int candidate, double objective, std::span<const double> statistics) {
  add_objective(candidate, objective);
  if (summation_ == Summation::plain) {
    double* sums = plain_.data() + candidate * (1 + layout_->size());
    *sums++ += objective;
    for (const double value : statistics) *sums++ += value;
    return;
  }
  const auto high = limbs(candidate, 0), low = limbs(candidate, 1);
  for (std::size_t f = 0; f < grids_.size(); ++f) {
    const Field& field = layout_->fields()[f];
    const GridReport report =
        add_to_grid(grids_[f], field.in(statistics), field.in(high).data(), field.in(low).data());
    add_report(candidate, f, report);
  }
  if (++additions_ % (additions_per_carry / 2) == 0)
    for (int c = 0; c < candidates_; ++c) tally::carry(limbs(c, 0), limbs(c, 1));
}

void Tally::add_objective(int candidate, double objective) {
  if (!objectives_[static_cast<std::size_t>(candidate)].add(objective))
    ++buffer_[static_cast<std::size_t>(place_of(candidate, *layout_).non_finite)];
}

void Tally::add_report(int candidate, std::size_t field, const GridReport& report) {
  buffer_[static_cast<std::size_t>(place_of(candidate, *layout_).non_finite)] += report.non_finite;
  counter(misfits) += report.misfits;
  reports_[field].merge(report);
}

void Tally::merge(const Tally& other) {
  Tally from = other;
  from.carry();
  carry();
  for (std::size_t i = 0; i < buffer_.size(); ++i) buffer_[i] += from.buffer_[i];
  for (std::size_t i = 0; i < plain_.size(); ++i) plain_[i] += from.plain_[i];
  for (std::size_t f = 0; f < reports_.size(); ++f) reports_[f].merge(from.reports_[f]);
  carry();
}

void Tally::carry() {
  for (int c = 0; c < candidates_; ++c) {
    // The buffer's limbs may be sums over ranks: they are a FullRangeSum again once carried.
    FullRangeSum sum;
    const auto stored = objective_limbs(c);
    std::copy(stored.begin(), stored.end(), sum.limbs().begin());
    sum.carry();
    sum.merge(objectives_[static_cast<std::size_t>(c)]);
    sum.carry();
    std::copy(sum.limbs().begin(), sum.limbs().end(), stored.begin());
    objectives_[static_cast<std::size_t>(c)] = FullRangeSum();
    tally::carry(limbs(c, 0), limbs(c, 1));
  }
}

double Tally::objective(int candidate) const {
  if (summation_ == Summation::plain) return plain_[static_cast<std::size_t>(candidate * (1 + layout_->size()))];
  FullRangeSum sum;
  const auto stored = const_cast<Tally*>(this)->objective_limbs(candidate);
  std::copy(stored.begin(), stored.end(), sum.limbs().begin());
  return sum.value();
}

void Tally::statistics(int candidate, std::span<double> out) const {
  if (summation_ == Summation::plain) {
    const auto first = plain_.begin() + candidate * (1 + layout_->size()) + 1;
    std::copy(first, first + layout_->size(), out.begin());
    return;
  }
  const auto high = limbs(candidate, 0), low = limbs(candidate, 1);
  for (std::size_t f = 0; f < grids_.size(); ++f) {
    const Field& field = layout_->fields()[f];
    for (Index i = field.offset; i < field.offset + field.size; ++i)
      out[static_cast<std::size_t>(i)] =
          grid_value(grids_[f], high[static_cast<std::size_t>(i)], low[static_cast<std::size_t>(i)]);
  }
}

}  // namespace tally
