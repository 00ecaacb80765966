#include "launch/planted_rows.hpp"

#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "core/philox.hpp"
#include "core/random_streams.hpp"

namespace tally {
namespace {

constexpr RandomKey key{1, static_cast<std::uint32_t>(RandomStream::generate)};

// How many places along a column the grid of clusters has.
Index places_of(Index columns, Index components) {
  Index places = 1;
  while (std::pow(static_cast<double>(places), static_cast<double>(columns)) < static_cast<double>(components)) ++places;
  return places;
}

// A value about place `place`. Counts have a standard deviation of half a unit of their root; of five symbols four are
// the place's own; numbers from 0 on are exponential, logarithms of those above 0 are four deviations apart.
double draw_value(Domain domain, std::uint64_t row, Index column, Index place) {
  const auto draw = 1 + static_cast<std::uint32_t>(column) * poisson_draws;
  const auto at = static_cast<double>(place);
  if (domain.bounded()) {
    constexpr std::uint64_t most_symbols = 8;
    const auto symbols = domain.largest < most_symbols ? static_cast<std::uint64_t>(domain.largest) + 1 : most_symbols;
    const bool own = below(key, row, draw, 5) != 0;
    return static_cast<double>(own ? static_cast<std::uint64_t>(place) % symbols : below(key, row, draw + 1, symbols));
  }
  if (domain.whole) return static_cast<double>(poisson(key, row, draw, 4 * (1 + at) * (1 + at)));
  if (domain.sign == Sign::not_negative) return -std::log(uniform(key, row, draw)) * std::pow(8.0, at);
  if (domain.sign == Sign::positive) return std::exp(at + 0.25 * normal(key, row, draw));
  if (domain.unit_length) return std::cos(2 * at + static_cast<double>(column)) + 0.1 * normal(key, row, draw);
  return (10 + 4 * at + normal(key, row, draw)) * static_cast<double>(1 + column % 3);
}

// Makes some values of a row NaN, never all.
void leave_out(std::span<double> values, std::uint64_t row) {
  Index left = static_cast<Index>(values.size());
  for (std::size_t d = 0; d < values.size() && left > 1; ++d)
    if (below(key, row, 0x50000000 + static_cast<std::uint32_t>(d), 5) == 0) {
      values[d] = std::numeric_limits<double>::quiet_NaN();
      --left;
    }
}

void divide_by_length(std::span<double> row) {
  double squares = 0;
  for (const double value : row) squares += value * value;
  for (double& value : row) value /= std::sqrt(squares);
}

}  // namespace

std::vector<double> PlantedRows::blurred_labels(std::uint64_t seed) const {
  const RandomKey blur{seed, static_cast<std::uint32_t>(RandomStream::initialise)};
  std::vector<double> labels(clusters.begin(), clusters.end());
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (below(blur, i, 0, 5) == 0)
      labels[i] = static_cast<double>(below(blur, i, 1, static_cast<std::uint64_t>(components)));
  return labels;
}

PlantedRows plant_rows(Domain domain, Index rows, Index columns, Index components, bool weighted) {
  std::vector<Index> single(static_cast<std::size_t>(rows), 1);
  PlantedRows planted =
      plant_rows(domain, std::make_shared<const Sequences>(Sequences::of_lengths(single)), columns, components, weighted);
  planted.sequences.reset();
  return planted;
}

PlantedRows plant_rows(Domain domain, std::shared_ptr<const Sequences> sequences, Index columns, Index components,
                       bool weighted) {
  PlantedRows planted;
  planted.columns = columns;
  planted.components = components;
  planted.values.reserve(static_cast<std::size_t>(sequences->rows() * columns));
  const Index places = places_of(columns, components);
  for (Index s = 0; s < sequences->count(); ++s)
    for (Index i = sequences->first_row(s); i < sequences->first_row(s + 1); ++i) {
      const auto row = static_cast<std::uint64_t>(i), first = static_cast<std::uint64_t>(sequences->first_row(s));
      auto cluster = static_cast<Index>(below(key, row, 0, static_cast<std::uint64_t>(components)));
      if (row > first && below(key, row, 0x40000001, 2) == 0) cluster = (planted.clusters.back() + 1) % components;
      planted.clusters.push_back(static_cast<std::int32_t>(cluster));
      for (Index d = 0; d < columns; ++d, cluster /= places)
        planted.values.push_back(draw_value(domain, row, d, cluster % places));
      if (domain.unit_length) divide_by_length(std::span(planted.values).last(static_cast<std::size_t>(columns)));
      if (domain.takes_nan()) leave_out(std::span(planted.values).last(static_cast<std::size_t>(columns)), row);
      constexpr double weights[] = {0, 1, 0.5, 3};
      if (weighted) planted.weights.push_back(weights[below(key, first, 0x40000000, 4)]);
    }
  planted.sequences = std::move(sequences);
  return planted;
}

}  // namespace tally
