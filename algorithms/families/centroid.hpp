#pragma once
#include <map>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "algorithms/kernel.hpp"
#include "algorithms/model.hpp"
#include "core/backends/nearest.hpp"

namespace tally {

// Components that are points; a row's cost is its squared Euclidean distance. With hard assignment: k-means (Lloyd,
// "Least squares quantization in PCM", 1982).
class CentroidFamily {
 public:
  CentroidFamily(Index components, Index columns)
      : components_(components), columns_(columns), standardisation_(Standardisation::none(columns)) {}

  Index components() const noexcept { return components_; }
  Index columns() const noexcept { return columns_; }
  Domain domain() const noexcept { return Domain::real; }
  std::map<std::string, std::string> options() const { return {}; }
  // Distances mean something only if all columns share one scale.
  Scaling scaling() const noexcept { return Scaling::common; }
  void set_standardisation(const Standardisation& standardisation) { standardisation_ = standardisation; }
  std::function<double(const double*)> log_base_measure() const { return nullptr; }

  void add_parameters(Layout& layout) const { layout.add("centers", {components_, columns_}); }
  void add_statistics(Layout& layout) const { layout.add("moments", {components_, 1 + columns_}); }
  std::vector<double> bounds(const DataSummary& summary) const;
  void set_defaults(const Layout& layout, std::span<double> parameters) const;
  // The statistics are sums about the old centres, so that rows that all equal their centre leave it where it is:
  // centre_k += weighted mean of x - centre_k over its rows; a centre without rows stays.
  void maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                const Layout& layout, std::span<double> parameters) const;
  Index free_parameters() const noexcept { return components_ * columns_; }
  double objective_in_user_units(double objective, double weight) const;
  std::vector<std::string> warnings(const DataSummary&) const { return {}; }

  void describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const;
  void read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const;
  void start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                std::span<double> parameters) const;
  // The centres, and variances of 0: k-means says nothing of the spread.
  Moments moments(const Layout& layout, std::span<const double> parameters) const;
  using DrawValue = std::function<void(Index k, RandomKey key, Index row, double* out)>;
  // Draws the centre itself.
  DrawValue sampler(const Layout& layout, std::span<const double> parameters) const;

  // The centres in panels (see core/backends/nearest.hpp), the centres (K, D), half their squared norms (K), their
  // largest norm.
  Index coefficient_stride() const noexcept { return columns_; }
  Index coefficient_count() const noexcept {
    return cpu::panels_size(components_, columns_) + components_ * columns_ + components_ + 1;
  }
  void coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out) const;

 private:
  Index components_, columns_;
  Standardisation standardisation_;
};

// Distances need no features besides the rows themselves.
struct CentroidKernel {
  Index components = 0;
  Index columns = 0;

  Index feature_width() const { return 0; }
  // Never more than the rows themselves take.
  bool remembers(Index candidates) const {
    return candidates * static_cast<Index>(sizeof(cpu::RememberedRow)) <= columns * static_cast<Index>(sizeof(float));
  }
  void follow(const double* before, const double* after, double* moved) const {
    cpu::add_moves(centres_in(before), centres_in(after), moved);
  }
  template <class Lane, class Real>
  void features(Lane&, MatrixView<const Real>, MatrixView<Real>) const {}

  template <class Lane, class Real>
  void nearest(Lane& lane, const Tile<Real>& tile, CandidateWork<Real>& work, double* row_objectives,
               double* objective) const {
    const Index panels = cpu::panels_size(components, columns), half_norms = panels + components * columns;
    const cpu::Centres<Real> centres{origins(work), work.exact + half_norms, work.exact + half_norms + components,
                                     work.coefficients};
    const cpu::RowTerms terms{tile.weights, nullptr, row_objectives};
    if constexpr (requires { lane.nearest_rows(tile.x, centres, terms, work.labels, objective, work.remembered); })
      lane.nearest_rows(tile.x, centres, terms, work.labels, objective, work.remembered);
    else
      lane.nearest_rows(tile.x, centres, terms, work.labels, objective);
  }
  template <class Lane, class Real>
  void add_labelled(Lane& lane, const Tile<Real>& tile, const CandidateWork<Real>& work, double* statistics) const {
    lane.add_rows_by_label(tile.x, work.labels, tile.weights, origins(work), sums(statistics));
  }
  template <class Lane, class Real>
  void add_weighted(Lane& lane, const Tile<Real>& tile, const CandidateWork<Real>& work, double* statistics) const {
    lane.add_weighted_rows(tile.x, MatrixView<const Real>(work.posterior), origins(work), sums(statistics));
  }

 private:
  template <class Real>
  MatrixView<const double> origins(const CandidateWork<Real>& work) const {
    return centres_in(work.exact);
  }
  MatrixView<const double> centres_in(const double* exact) const {
    return {exact + cpu::panels_size(components, columns), components, columns};
  }
  MatrixView<double> sums(double* statistics) const { return {statistics, components, 1 + columns}; }
};

}  // namespace tally
