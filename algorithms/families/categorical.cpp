#include "algorithms/families/categorical.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "algorithms/families/option_text.hpp"
#include "algorithms/families/parameter_fields.hpp"
#include "core/error.hpp"

namespace tally {

CategoricalFamily::CategoricalFamily(const CategoricalOptions& options, Index components, Index columns)
    : FamilyDefaults(components, columns, 1 + columns), options_(options) {
  if (!(options.alpha >= 0) || !std::isfinite(options.alpha)) throw UsageError("--alpha must be a number from 0 on");
  if (options.symbols < 0 || options.symbols > most_symbols)
    throw UsageError("--symbols must be within 1 to " + std::to_string(most_symbols));
}

std::map<std::string, std::string> CategoricalFamily::options() const {
  return {{"alpha", option_text(options_.alpha)}, {"symbols", std::to_string(symbols())}};
}

std::map<std::string, std::string> CategoricalFamily::options_from(const DataSummary& summary) const {
  if (symbols() > 0) return {};
  const double largest = *std::max_element(summary.maximum.begin(), summary.maximum.end());
  return {{"symbols", std::to_string(static_cast<Index>(largest) + 1)}};
}

void CategoricalFamily::set_defaults(const Layout& layout, std::span<double> parameters) const {
  const auto probabilities = layout["probabilities"].in(parameters);
  std::fill(probabilities.begin(), probabilities.end(), 1 / static_cast<double>(symbols()));
}

void CategoricalFamily::maximize(const Layout& statistics_layout, std::span<const double> statistics, double,
                                 const Layout& layout, std::span<double> parameters) const {
  const Index K = components_, S = symbols();
  const double* const counts = statistics_layout["counts"].in(statistics).data();
  double* probabilities = layout["probabilities"].in(parameters).data();
  for (Index k = 0; k < K; ++k)
    for (Index d = 0; d < columns_; ++d, probabilities += S) {
      const double* const of_column = counts + d * S * K + k;
      double total = 0;
      for (Index s = 0; s < S; ++s) total += of_column[s * K];
      if (!(total > 0)) continue;
      total += static_cast<double>(S) * options_.alpha;
      for (Index s = 0; s < S; ++s) probabilities[s] = (of_column[s * K] + options_.alpha) / total;
    }
}

void CategoricalFamily::describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const {
  describe_field(layout["probabilities"], parameters, arrays);
}

void CategoricalFamily::read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const {
  const Array* const given = find_given(arrays, layout["probabilities"]);
  if (!given) return;
  const Index S = symbols();
  for (auto first = given->values.begin(); first != given->values.end(); first += S) {
    double sum = 0;
    for (auto value = first; value != first + S; ++value) {
      if (!(*value >= 0)) throw DataError("start parameter 'probabilities' has a value below 0");
      sum += *value;
    }
    if (!(std::abs(sum - 1) < 1e-6)) {
      const Index place = (first - given->values.begin()) / S;
      throw DataError("start parameter 'probabilities' sums to " + std::to_string(sum) + " over the symbols of column " +
                      std::to_string(place % columns_) + " of component " + std::to_string(place / columns_) + ", not to 1");
    }
  }
  std::copy(given->values.begin(), given->values.end(), layout["probabilities"].in(parameters).begin());
}

// Half the row and half every symbol: a probability of 0 at the start could never leave it.
void CategoricalFamily::start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary&,
                                 std::span<double> parameters) const {
  set_defaults(layout, parameters);
  double* probabilities = layout["probabilities"].in(parameters).data();
  for (Index k = 0; k < components_; ++k)
    for (Index d = 0; d < columns_; ++d, probabilities += symbols()) {
      for (Index s = 0; s < symbols(); ++s) probabilities[s] *= 0.5;
      probabilities[static_cast<Index>(rows(k, d))] += 0.5;
    }
}

// A symbol that is missing in the sample need not be so in the data.
void CategoricalFamily::soften_start(const Layout& layout, const DataSummary&, std::span<double> parameters) const {
  const std::vector<double> alike(static_cast<std::size_t>(columns_ * symbols()), 1 / static_cast<double>(symbols()));
  soften(layout["probabilities"].matrix(parameters), alike);
}

Moments CategoricalFamily::moments(const Layout& layout, std::span<const double> parameters) const {
  const auto probabilities = layout["probabilities"].in(parameters);
  Moments moments{columns_ * symbols(), {probabilities.begin(), probabilities.end()}, {}};
  for (const double p : probabilities) moments.variance.push_back(p * (1 - p));
  return moments;
}

CategoricalFamily::DrawValue CategoricalFamily::sampler(const Layout& layout,
                                                        std::span<const double> parameters) const {
  // Sums of the symbols up to each, (K, D, S).
  const auto cumulative = std::make_shared<std::vector<double>>();
  const Index D = columns_, S = symbols();
  double sum = 0;
  for (const double probability : layout["probabilities"].in(parameters)) {
    if (static_cast<Index>(cumulative->size()) % S == 0) sum = 0;
    cumulative->push_back(sum += probability);
  }
  return [cumulative, D, S](Index k, RandomKey key, Index row, double* out) {
    for (Index d = 0; d < D; ++d) {
      const double* const first = cumulative->data() + (k * D + d) * S;
      const double u = uniform(key, static_cast<std::uint64_t>(row), static_cast<std::uint32_t>(1 + d));
      const Index found = std::upper_bound(first, first + S, u * first[S - 1]) - first;
      out[d] = static_cast<double>(std::min(found, S - 1));
    }
  };
}

void CategoricalFamily::coefficients(const Layout& layout, std::span<const double> parameters,
                                     std::span<double> out) const {
  const Index K = components_;
  const MatrixView<const double> probabilities = layout["probabilities"].matrix(parameters);
  std::fill_n(out.begin(), K, 0.0);
  const MatrixView<double> table(out.data() + K, probabilities.cols, K);
  for (Index k = 0; k < K; ++k)
    for (Index entry = 0; entry < table.rows; ++entry) table(entry, k) = std::log(probabilities(k, entry));
}

}  // namespace tally
