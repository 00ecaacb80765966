#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "algorithms/kernel.hpp"
#include "algorithms/model.hpp"
#include "core/layout.hpp"

namespace tally {

// Every row belongs to one component, which one is hidden but where a label tells it: posterior weights by softmax, weights w_k
// as parameters. The block half; Family is a kernel.
template <class Family>
struct MixtureKernel {
  Family family;

  Index feature_width() const { return family.feature_width(); }

  template <class Lane, class Real>
  void features(Lane& lane, const Tile<Real>& tile, MatrixView<Real> out) const {
    family.features(lane, tile.x, out);
  }

  template <class Lane, class Real>
  void expect(Lane& lane, const Tile<Real>& tile, MatrixView<const Real> features, CandidateWork<Real>& work,
              double* row_objectives, double* objective) const {
    family.log_densities(lane, features, work.coefficients, work.posterior);
    if (tile.given.cols == 1) lane.for_each(tile.rows(), KeepKnown<Real>{tile.given, 1, work.posterior});
    const double* offsets = tile.offsets;
    if constexpr (requires { family.row_log_densities(lane, features, work.coefficients, work.row_values); }) {
      family.row_log_densities(lane, features, work.coefficients, work.row_values);
      lane.for_each(tile.rows(), OffsetRow<Real>{tile.offsets, work.row_values, work.row_offsets});
      offsets = work.row_offsets;
    }
    lane.softmax_rows(work.posterior, {tile.weights, offsets, row_objectives}, objective);
  }

  template <class Lane, class Real>
  void add_statistics(Lane& lane, const Tile<Real>& tile, MatrixView<const Real> features,
                      const CandidateWork<Real>& work, double* statistics) const {
    add(lane, tile, features, work, work.coefficients, statistics);
  }

  template <class Lane, class Real>
  void take_given(Lane&, const Tile<Real>& tile, CandidateWork<Real>& work) const {
    posterior_from_given(tile, work.posterior);
  }
  template <class Lane, class Real>
  void add_given_statistics(Lane& lane, const Tile<Real>& tile, MatrixView<const Real> features,
                            const CandidateWork<Real>& work, double* statistics) const {
    const Real* const none = nullptr;
    add(lane, tile, features, work, none, statistics);
  }

  template <class Real>
  void labels(const Tile<Real>& tile, const CandidateWork<Real>& work, std::int32_t* out) const {
    for (Index i = 0; i < tile.rows(); ++i) {
      const Real* row = work.posterior.row(i);
      out[i] = static_cast<std::int32_t>(std::max_element(row, row + work.posterior.cols) - row);
    }
  }
  template <class Real>
  void responsibilities(const Tile<Real>& tile, const CandidateWork<Real>& work, double* out) const {
    for (Index i = 0; i < tile.rows(); ++i)
      std::copy_n(work.posterior.row(i), work.posterior.cols, out + i * work.posterior.cols);
  }

 private:
  template <class Lane, class Real>
  void add(Lane& lane, const Tile<Real>& tile, MatrixView<const Real> features, const CandidateWork<Real>& work,
           const Real* coefficients, double* statistics) const {
    add_weighted(family, lane, features, coefficients, MatrixView<const Real>(work.posterior), statistics);
    if constexpr (requires { family.add_unlabelled(lane, features, work.row_values, statistics); }) {
      lane.for_each(tile.rows(), WeightRow<Real>{tile.weights, work.row_values});
      family.add_unlabelled(lane, features, static_cast<const Real*>(work.row_values), statistics);
    }
  }
};

// The host half: component weights "weights" (K), under a Dirichlet prior of one concentration for all; 1: none.
class Mixture {
 public:
  static constexpr const char* objective_name = "log-likelihood";
  static constexpr bool larger_is_better = true;
  static constexpr bool has_weights = true;

  // Throws UsageError where the concentration is no number from 1 on.
  explicit Mixture(Index components, double concentration = 1);

  template <class Family>
  MixtureKernel<Family> kernel(Family family) const {
    return {std::move(family)};
  }

  Index components() const noexcept { return components_; }
  std::map<std::string, std::string> options() const;
  void add_parameters(Layout& layout) const { layout.add("weights", {components_}); }
  void add_statistics(Layout&) const {}
  std::vector<double> bounds() const { return {}; }
  void set_defaults(const Layout& layout, std::span<double> parameters) const;
  // w_k = (sum of posterior weights of k, which is column 0 of the family's moments, + concentration - 1) / (total weight +
  // K (concentration - 1)).
  void maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                const Layout& layout, std::span<double> parameters) const;
  Index coefficient_count() const noexcept { return 0; }
  // Adds log w_k to the constant of each component's natural parameters, which are `stride` apart.
  void add_to_coefficients(const Layout& layout, std::span<const double> parameters, Index stride,
                           std::span<double> of_family, std::span<double> own) const;
  Index free_parameters() const noexcept { return components_ - 1; }

  bool has_prior() const noexcept { return concentration_ != 1; }
  double weight(const Layout& layout, std::span<const double> parameters, Index k) const {
    return layout["weights"].in(parameters)[static_cast<std::size_t>(k)];
  }
  // Gives component k and the heaviest other one, the first of equals, half of what both weigh; returns which that is.
  Index halve_heaviest(const Layout& layout, std::span<double> parameters, Index k) const;

  void describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const;
  void read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const;
  using DrawComponent = std::function<Index(RandomKey key, Index row)>;
  DrawComponent sampler(const Layout& layout, std::span<const double> parameters) const;

 private:
  Index components_;
  double concentration_;
};

}  // namespace tally
