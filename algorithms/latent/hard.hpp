#pragma once
#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "algorithms/model.hpp"
#include "algorithms/tile_kernel.hpp"
#include "core/layout.hpp"

namespace tally {

// Every row belongs wholly to its best component: k-means, where the family knows distances, and classification EM.
// The block half; Family is a kernel that finds the nearest component of each row.
template <class Family>
struct HardKernel {
  Family family;

  Index feature_width() const { return family.feature_width(); }
  bool remembers(Index candidates) const { return family.remembers(candidates); }
  void follow(const double* before, const double* after, double* moved) const { family.follow(before, after, moved); }
  template <class Lane, class Real>
  void features(Lane& lane, const Tile<Real>& tile, MatrixView<Real> out) const {
    family.features(lane, tile.x, out);
  }
  template <class Lane, class Real>
  void expect(Lane& lane, const Tile<Real>& tile, MatrixView<const Real>, CandidateWork<Real>& work,
              double* row_objectives, double* objective) const {
    family.nearest(lane, tile, work, row_objectives, objective);
  }
  template <class Lane, class Real>
  void add_statistics(Lane& lane, const Tile<Real>& tile, MatrixView<const Real>, const CandidateWork<Real>& work,
                      double* statistics) const {
    family.add_labelled(lane, tile, work, statistics);
  }
  template <class Lane, class Real>
  void take_given(Lane&, const Tile<Real>& tile, CandidateWork<Real>& work) const {
    posterior_from_given(tile, work.posterior);
  }
  template <class Lane, class Real>
  void add_given_statistics(Lane& lane, const Tile<Real>& tile, MatrixView<const Real>,
                            const CandidateWork<Real>& work, double* statistics) const {
    family.add_weighted(lane, tile, work, statistics);
  }
  template <class Real>
  void labels(const Tile<Real>& tile, const CandidateWork<Real>& work, std::int32_t* out) const {
    std::copy_n(work.labels, tile.rows(), out);
  }
  template <class Real>
  void responsibilities(const Tile<Real>& tile, const CandidateWork<Real>& work, double* out) const {
    const Index K = work.posterior.cols;
    for (Index i = 0; i < tile.rows(); ++i)
      for (Index k = 0; k < K; ++k) out[i * K + k] = work.labels[i] == k ? 1 : 0;
  }
};

// The host half: no parameters of its own.
class Hard {
 public:
  static constexpr const char* objective_name = "inertia";
  static constexpr bool larger_is_better = false;

  explicit Hard(Index components) : components_(components) {}

  template <class RunsOn, class Kernel>
  BindKernel bind(const Kernel& of_family) const {
    return [kernels = tile_kernels<typename RunsOn::Lane>(HardKernel<Kernel>{of_family})](const auto&... how) {
      return RunsOn::bind_tiles(kernels, how...);
    };
  }

  Index components() const noexcept { return components_; }
  std::map<std::string, std::string> options() const { return {}; }
  void add_parameters(Layout&) const {}
  void add_statistics(Layout&) const {}
  std::vector<double> bounds() const { return {}; }
  void set_defaults(const Layout&, std::span<double>) const {}
  void maximize(const Layout&, std::span<const double>, double, const Layout&, std::span<double>) const {}
  Index coefficient_count() const noexcept { return 0; }
  void add_to_coefficients(const Layout&, std::span<const double>, Index, std::span<double>, std::span<double>) const {}
  Index free_parameters() const noexcept { return 0; }

  void describe(const Layout&, std::span<const double>, NamedArrays&) const {}
  void read(const Layout&, const NamedArrays&, std::span<double>) const {}
  // Every component equally often.
  auto sampler(const Layout&, std::span<const double>) const {
    return [components = components_](RandomKey key, Index row) {
      return static_cast<Index>(
          below(key, static_cast<std::uint64_t>(row), 0, static_cast<std::uint64_t>(components)));
    };
  }

 private:
  Index components_;
};

}  // namespace tally
