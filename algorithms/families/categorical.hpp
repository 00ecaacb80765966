#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "algorithms/kernel.hpp"
#include "algorithms/families/family_defaults.hpp"
#include "algorithms/model.hpp"

namespace tally {

struct CategoricalOptions {
  Index symbols = 0;  // S; 0: as many as the data show
  double alpha = 0;   // added to the count of each symbol: a Dirichlet(1 + alpha) prior
};

// Independent columns of symbols 0 to S - 1: log p(x) = sum_d log p_d(x_d), looked up in a table. A probability of 0 is a
// logarithm of minus infinity, which sums carry and nothing multiplies.
class CategoricalFamily : public FamilyDefaults {
 public:
  static constexpr Index most_symbols = Index{1} << 20;

  // Throws UsageError: alpha is no number from 0 on, or more symbols than that.
  CategoricalFamily(const CategoricalOptions& options, Index components, Index columns);

  Index symbols() const noexcept { return options_.symbols; }
  Domain domain() const noexcept { return Domain::symbols(symbols() > 0 ? symbols() : most_symbols); }
  std::map<std::string, std::string> options() const;
  // The number of symbols, where nobody gave it.
  std::map<std::string, std::string> options_from(const DataSummary& summary) const;

  void add_parameters(Layout& layout) const { layout.add("probabilities", {components_, columns_, symbols()}); }
  // "moments" (K, 1): posterior weights; "counts" (D, S, K): those of the rows with symbol s in column d.
  void add_statistics(Layout& layout) const {
    layout.add("moments", {components_, 1}).add("counts", {columns_, symbols(), components_});
  }
  std::vector<double> bounds(const DataSummary&) const { return {1, 1}; }
  void set_defaults(const Layout& layout, std::span<double> parameters) const;
  // p_kds = (counts_dsk + alpha) / sum over symbols of the same. A column without any weight keeps its probabilities.
  void maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                const Layout& layout, std::span<double> parameters) const;
  Index free_parameters() const noexcept { return components_ * columns_ * (symbols() - 1); }

  void describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const;
  void read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const;
  void start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                std::span<double> parameters) const;
  // Mixes a little of every symbol into probabilities that come from a sample, so that none is 0 for good.
  void soften_start(const Layout& layout, const DataSummary& summary, std::span<double> parameters) const;
  // Of what indicates each symbol, (K, D S): its probability p, and p (1 - p).
  Moments moments(const Layout& layout, std::span<const double> parameters) const;
  DrawValue sampler(const Layout& layout, std::span<const double> parameters) const;

  // A constant for each component, then the table (D S, K) of log-probabilities.
  Index coefficient_stride() const noexcept { return 1; }
  Index coefficient_count() const noexcept { return components_ * (1 + columns_ * symbols()); }
  void coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out) const;

 private:
  CategoricalOptions options_;
};

// Features: 1, which counts, and the symbols as they are.
struct CategoricalKernel {
  Index components = 0;
  Index columns = 0;
  Index symbols = 0;

  Index feature_width() const { return 1 + columns; }
  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    lane.linear_features(x, out);
  }

  template <class Lane, class Real>
  void log_densities(Lane& lane, MatrixView<const Real> features, const Real* coefficients,
                     MatrixView<Real> logits) const {
    lane.look_up(symbols_of(features), coefficients,
                 MatrixView<const Real>(coefficients + components, columns * symbols, components), logits);
  }
  template <class Lane, class Real>
  void add_weighted(Lane& lane, MatrixView<const Real> features, MatrixView<const Real> posterior,
                    double* statistics) const {
    lane.add_multiply_tn(posterior, MatrixView<const Real>(features.data, features.rows, 1, features.stride),
                         MatrixView<double>(statistics, components, 1));
    lane.add_rows_by_symbol(symbols_of(features), posterior,
                            MatrixView<double>(statistics + components, columns * symbols, components));
  }

 private:
  template <class Real>
  MatrixView<const Real> symbols_of(MatrixView<const Real> features) const {
    return {features.data + 1, features.rows, columns, features.stride};
  }
};

}  // namespace tally
