#include "launch/bench/clustered_rows.hpp"

#include <cmath>

#include "core/random_streams.hpp"

namespace tally::bench {
namespace {

// Half of the time the one that a component prefers.
double symbol_near(double centre, double symbols, double u) {
  const double preferred = std::floor(std::abs(centre) * symbols);
  return u < 0.5 ? std::fmod(preferred, symbols) : std::floor((2 * u - 1) * symbols);
}

}  // namespace

ClusteredRows::ClusteredRows(Domain domain, Index rows, Index columns, Index components, std::uint64_t seed)
    : domain_(domain),
      rows_(rows),
      columns_(columns),
      components_(components),
      key_{seed, static_cast<std::uint32_t>(RandomStream::generate)},
      centre_key_{seed, static_cast<std::uint32_t>(RandomStream::draw)},
      centres_(static_cast<std::size_t>(components * columns)) {
  for (std::size_t i = 0; i < centres_.size(); ++i) centres_[i] = 3 * normal(centre_key_, i, 0);
}

void ClusteredRows::read(Index first, Index count, double* out) const {
  for (Index i = 0; i < count; ++i) {
    const auto row = static_cast<std::uint64_t>(first + i);
    const auto component =
        static_cast<Index>(below(centre_key_, row, 1, static_cast<std::uint64_t>(components_)));
    const double* centre = centres_.data() + component * columns_;
    double squares = 0;
    for (Index d = 0; d < columns_; ++d) {
      const double value = out[i * columns_ + d] = draw(centre[d], row, d);
      squares += value * value;
    }
    for (Index d = 0; d < columns_ && domain_.unit_length; ++d) out[i * columns_ + d] /= std::sqrt(squares);
  }
}

double ClusteredRows::draw(double centre, std::uint64_t row, Index column) const {
  const auto first_draw = static_cast<std::uint32_t>(column) * poisson_draws;
  if (domain_.bounded()) return symbol_near(centre, domain_.largest + 1, uniform(key_, row, first_draw));
  if (domain_.whole) return static_cast<double>(poisson(key_, row, first_draw, std::exp(0.3 * centre + 1)));
  if (domain_.sign == Sign::not_negative) return -std::log(uniform(key_, row, first_draw)) * std::exp(centre);
  if (domain_.sign == Sign::positive) return std::exp(0.3 * centre + 0.3 * normal(key_, row, first_draw));
  return centre + normal(key_, row, first_draw);
}

}  // namespace tally::bench
