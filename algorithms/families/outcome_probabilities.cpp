#include "algorithms/families/outcome_probabilities.hpp"

#include <algorithm>
#include <cmath>

#include "algorithms/families/parameter_fields.hpp"
#include "core/error.hpp"

namespace tally {

OutcomeProbabilities::OutcomeProbabilities(double alpha, Index components, Index columns)
    : FamilyDefaults(components, columns, 1 + 2 * columns), alpha_(alpha) {
  if (!(alpha >= 0) || !std::isfinite(alpha)) throw UsageError("--alpha must be a number from 0 on");
}

void OutcomeProbabilities::set_defaults(const Layout& layout, std::span<double> parameters) const {
  const auto probabilities = layout["probabilities"].in(parameters);
  std::fill(probabilities.begin(), probabilities.end(), 0.5);
}

void OutcomeProbabilities::maximize(const Layout& statistics_layout, std::span<const double> statistics,
                                    double, const Layout& layout, std::span<double> parameters) const {
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  const MatrixView<double> probabilities = layout["probabilities"].matrix(parameters);
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d) {
      const double successes = moments(k, 1 + d), both = successes + moments(k, 1 + columns_ + d);
      if (both > 0) probabilities(k, d) = (successes + alpha_) / (both + 2 * alpha_);
    }
}

void OutcomeProbabilities::describe(const Layout& layout, std::span<const double> parameters,
                                    NamedArrays& arrays) const {
  describe_field(layout["probabilities"], parameters, arrays);
}

void OutcomeProbabilities::read(const Layout& layout, const NamedArrays& arrays,
                                std::span<double> parameters) const {
  const Array* const given = find_given(arrays, layout["probabilities"]);
  if (!given) return;
  for (const double value : given->values)
    if (!(value >= 0 && value <= 1))
      throw DataError("start parameter 'probabilities' has a value that is not within 0 to 1");
  std::copy(given->values.begin(), given->values.end(), layout["probabilities"].in(parameters).begin());
}

}  // namespace tally
