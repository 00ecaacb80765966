#pragma once
#include <algorithm>
#include <cstdint>
#include <span>

#include "algorithms/kernel.hpp"
#include "algorithms/model.hpp"
#include "core/layout.hpp"

namespace tally {

// Every row belongs wholly to its best component: k-means, where the family knows distances, and classification EM.
// The block half; Family is a kernel that finds the nearest component of each row.
template <class Family>
struct HardKernel {
  Family family;

  Index feature_width() const { return family.feature_width(); }
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
struct Hard {
  template <class Family>
  using Kernel = HardKernel<Family>;

  static void add_parameters(Layout&, Index) {}
  static void set_defaults(const Layout&, std::span<double>) {}
  static void maximize(MatrixView<const double>, double, const Layout&, std::span<double>) {}
  static void add_to_coefficients(const Layout&, std::span<const double>, std::span<double>, Index) {}
  static Index free_parameters(Index) { return 0; }

  static constexpr const char* objective_name = "inertia";
  static constexpr bool larger_is_better = false;

  static void describe(const Layout&, std::span<const double>, NamedArrays&) {}
  static void read(const Layout&, const NamedArrays&, std::span<double>) {}
  // Every component equally often.
  static auto sampler(const Layout&, std::span<const double>, Index components) {
    return [components](RandomKey key, Index row) {
      return static_cast<Index>(
          below(key, static_cast<std::uint64_t>(row), 0, static_cast<std::uint64_t>(components)));
    };
  }
};

}  // namespace tally
