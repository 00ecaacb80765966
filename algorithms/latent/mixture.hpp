#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "algorithms/family_kernel.hpp"
#include "algorithms/model.hpp"
#include "core/layout.hpp"

namespace tally {

// Every row belongs to one component, which one is hidden but where a label tells it: weights w_k as parameters, under a
// Dirichlet prior of one concentration for all; 1: none. The host half of it; MixtureKernel is the block half.
class Mixture {
 public:
  static constexpr const char* objective_name = "log-likelihood";
  static constexpr bool larger_is_better = true;
  static constexpr bool has_weights = true;

  // Throws UsageError where the concentration is no number from 1 on.
  explicit Mixture(Index components, double concentration = 1);

  template <class RunsOn, class Kernel>
  BindKernel bind(const Kernel& of_family) const {
    return [kernels = family_kernels<typename RunsOn::Lane>(of_family)](const auto&... how) {
      return RunsOn::bind_mixture(kernels, how...);
    };
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
