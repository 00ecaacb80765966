#pragma once
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "algorithms/families/exponential_family.hpp"
#include "algorithms/families/family_defaults.hpp"
#include "algorithms/model.hpp"

namespace tally {

struct VonMisesFisherOptions {
  double max_concentration = 1e8;
};

// Vectors of length 1 about a mean direction mu with a concentration kappa:
//   log p(x) = kappa mu . x + (D/2 - 1) log(kappa) - (D/2) log(2 pi) - log I_(D/2-1)(kappa)
// with respect to the area of the sphere. T(x) = [1, x].
class VonMisesFisherFamily : public FamilyDefaults {
 public:
  // The terms of a log-density are of the size of the concentration and cancel.
  static constexpr bool rounds_products = false;

  // Throws UsageError: fewer than two columns, or max_concentration is not above 0 and at most 1e10.
  VonMisesFisherFamily(const VonMisesFisherOptions& options, Index components, Index columns);

  Domain domain() const noexcept { return Domain::unit_vectors; }
  std::map<std::string, std::string> options() const;

  void add_parameters(Layout& layout) const {
    layout.add("mean_directions", {components_, columns_}).add("concentrations", {components_});
  }
  void set_defaults(const Layout& layout, std::span<double> parameters) const;
  // The direction of the weighted mean of x, and the concentration whose mean is as long; that along a frozen direction.
  void maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                const Layout& layout, std::span<double> parameters, const std::set<std::string>& frozen) const;
  Index free_parameters(const std::set<std::string>& frozen) const;

  void describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const;
  void read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const;
  void start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                std::span<double> parameters) const;
  // Widens components that come from a sample by a little of the whole's spread: a single row has none.
  void soften_start(const Layout& layout, const DataSummary& summary, std::span<double> parameters) const;
  // Mean and variance (K, D).
  Moments moments(const Layout& layout, std::span<const double> parameters) const;
  DrawValue sampler(const Layout& layout, std::span<const double> parameters) const;

  void coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out) const;

 private:
  // What the length of a component's mean lacks to 1, and the concentration, at most the largest, where it lacks so much.
  double complement_of(double concentration) const;
  double concentration_of(double complement) const;

  VonMisesFisherOptions options_;
};

}  // namespace tally
