#pragma once
#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>

#include "algorithms/families/exponential_family.hpp"
#include "algorithms/families/packed_index.hpp"
#include "algorithms/family_kernel.hpp"
#include "core/block.hpp"

namespace tally {

namespace generic {

// The sum of value(d)^2, d < count, in eight sums that do not wait for each other.
template <class Value>
TALLY_HD double sum_of_squares(Index count, const Value& value) {
  constexpr Index sums = 8;
  double squares[sums] = {};
  Index d = 0;
  for (; d + sums <= count; d += sums)
    for (Index s = 0; s < sums; ++s) squares[s] += value(d + s) * value(d + s);
  for (Index s = 0; s < sums; ++s)
    if (d + s < count) squares[s] += value(d + s) * value(d + s);
  for (Index half = sums / 2; half > 0; half /= 2)
    for (Index s = 0; s < half; ++s) squares[s] += squares[s + half];
  return squares[0];
}

// -1/2 |x_i|^2 of each row, and a constant.
template <class Real>
struct HalfNorm {
  MatrixView<const Real> x;
  Real* out;  // (rows), `stride` apart
  Index stride = 1;
  const Real* constant = nullptr;  // null: 0

  TALLY_HD void operator()(Index i) const {
    const Real* row = x.row(i);
    const double squares = sum_of_squares(x.cols, [row](Index d) { return static_cast<double>(row[d]); });
    out[i * stride] = static_cast<Real>((constant ? static_cast<double>(*constant) : 0.0) - 0.5 * squares);
  }
};

// The same of (x - mean) inverse, column by column or, with a step of 0, all by the same number.
template <class Real>
struct HalfScaledNorm {
  MatrixView<const Real> x;
  const Real* constant;
  const double* mean;
  const Real* inverse;
  Index step;
  Real* out;  // (rows), `stride` apart
  Index stride;

  TALLY_HD void operator()(Index i) const {
    const Real* row = x.row(i);
    const double squares =
        sum_of_squares(x.cols, [&](Index d) { return (static_cast<double>(row[d]) - mean[d]) * static_cast<double>(inverse[d * step]); });
    out[i * stride] = static_cast<Real>(static_cast<double>(*constant) - 0.5 * squares);
  }
};

template <class Real>
struct CentredRow {
  MatrixView<const Real> x;
  const double* mean;
  MatrixView<Real> out;

  TALLY_HD void operator()(Index i) const {
    for (Index d = 0; d < x.cols; ++d) out(i, d) = static_cast<Real>(static_cast<double>(x(i, d)) - mean[d]);
  }
};

// [1, x - mean], and the same times the row's weight.
template <class Real>
struct WeightedCentredRow {
  MatrixView<const Real> x;
  const double* mean;
  const Real* weights;  // `stride` apart
  Index stride;
  MatrixView<Real> centred, weighted;

  TALLY_HD void operator()(Index i) const {
    const Real weight = weights[i * stride];
    centred(i, 0) = 1;
    weighted(i, 0) = weight;
    for (Index d = 0; d < x.cols; ++d) {
      const auto difference = static_cast<Real>(static_cast<double>(x(i, d)) - mean[d]);
      centred(i, 1 + d) = difference;
      weighted(i, 1 + d) = weight * difference;
    }
  }
};

// Row a of a lower triangular matrix whose rows lie one behind the other.
template <class Real>
struct LowerRow {
  const Real* packed;
  MatrixView<Real> out;

  TALLY_HD void operator()(Index a) const {
    const Real* const row = packed + a * (a + 1) / 2;
    for (Index b = 0; b < out.cols; ++b) out(a, b) = b <= a ? row[b] : Real(0);
  }
};

template <class Real>
struct WeightedRow {
  MatrixView<const Real> x;
  const Real* weights;
  MatrixView<Real> out;

  TALLY_HD void operator()(Index i) const {
    for (Index d = 0; d < x.cols; ++d) out(i, d) = weights[i] * x(i, d);
  }
};

struct SetToZero {
  double* values;

  TALLY_HD void operator()(Index i) const { values[i] = 0; }
};

struct AddOne {
  double* to;

  TALLY_HD void operator()(Index) const { *to += 1; }
};

struct AddValues {
  const double* values;
  double* to;

  TALLY_HD void operator()(Index i) const { to[i] += values[i]; }
};

// Adds what is on and above the diagonal of a square matrix to the packed `sums`.
struct AddUpperRow {
  MatrixView<const double> square;
  double* sums;

  TALLY_HD void operator()(Index a) const {
    double* const to = sums + packed_index(a, a, square.cols);
    for (Index b = a; b < square.cols; ++b) to[b - a] += square(a, b);
  }
};

}  // namespace generic

// The block half of the Gaussian families: how T(x) is made. Order of T: 1, x, then the squares.

// Where a CPU's rows have more than most_kept_monomials, features are [1, x] and the monomials are made slab by slab as they are multiplied.
// Sums are the same to the last bit, as each chain goes on from slab to slab, but for log-densities of one component by itself.
struct GaussianFullKernel : ExponentialKernel {
  Index feature_width() const { return width; }
  template <class Lane>
  Index feature_width_on(Index columns) const {
    return makes_slabs<Lane> && width > most_kept_monomials ? 1 + columns : width;
  }
  // Of a CPU lane.
  Index workspace_bytes() const { return width > most_kept_monomials ? 8 * tile_rows * slab_stride : 0; }

  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    if (out.cols == width)
      lane.quadratic_features(x, out);
    else
      lane.linear_features(x, out);
  }

  // work(first monomial, those from it on): all of them, or slab by slab.
  template <class Lane, class Real, class Work>
  void for_each_slab(Lane& lane, MatrixView<const Real> features, const Work& work) const {
    if constexpr (makes_slabs<Lane>)
      if (features.cols < width) {
        const MatrixView<const Real> x(features.data + 1, features.rows, features.cols - 1, features.stride);
        const MatrixView<Real> room = lane.template workspace<Real>(x.rows, slab_stride);
        for (Index first = 0; first < width; first += slab_width) {
          const MatrixView<Real> slab(room.data, x.rows, std::min(slab_width, width - first), room.stride);
          lane.quadratic_features_from(first, x, slab);
          work(first, MatrixView<const Real>(slab));
        }
        return;
      }
    work(0, features);
  }
  template <class Lane, class Real>
  void add_to_logits(Lane& lane, Index first, MatrixView<const Real> monomials, const Real* coefficients, MatrixView<Real> logits) const {
    const MatrixView<const Real> of_slab(coefficients + first, components, monomials.cols, width);
    if constexpr (makes_slabs<Lane>)
      if (first > 0) return lane.add_multiply_nt(monomials, of_slab, logits);
    lane.multiply_nt(monomials, of_slab, logits);
  }
  template <class Lane, class Real>
  void add_to_sums(Lane& lane, Index first, MatrixView<const Real> monomials, MatrixView<const Real> posterior, double* statistics) const {
    lane.add_multiply_tn(posterior, monomials, MatrixView<double>(statistics + first, components, monomials.cols, width));
  }

  template <class Lane, class Real>
  void log_densities(Lane& lane, MatrixView<const Real> features, const Real* coefficients, MatrixView<Real> logits) const {
    for_each_slab(lane, features, [&](Index first, MatrixView<const Real> monomials) {
      add_to_logits(lane, first, monomials, coefficients, logits);
    });
  }
  template <class Lane, class Real>
  void add_weighted(Lane& lane, MatrixView<const Real> features, MatrixView<const Real> posterior, double* statistics) const {
    for_each_slab(lane, features, [&](Index first, MatrixView<const Real> monomials) {
      add_to_sums(lane, first, monomials, posterior, statistics);
    });
  }

 private:
  // Rows that begin a power of two apart share few places of a cache.
  static constexpr Index slab_stride = slab_width + 8;
  template <class Lane>
  static constexpr bool makes_slabs =
      requires(Lane& lane, MatrixView<const double> x, MatrixView<double> out) { lane.quadratic_features_from(0, x, out); };
};

struct GaussianDiagKernel : ExponentialKernel {
  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    lane.square_features(x, out);
  }
  Index feature_width() const { return width; }
};

struct GaussianSphericalKernel : ExponentialKernel {
  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    lane.norm_features(x, out);
  }
  Index feature_width() const { return width; }
};

// One covariance for all components: the quadratic part of the log-density, -1/2 |L^-1 x|^2 where L L' is the covariance, is the
// same for every one of them, so it is an offset of the row, and the products x x' are summed once, whatever the posterior.
// Coefficients: those of T(x) = [1, x] (K, 1 + D), then L^-1 (D, D).
struct GaussianTiedKernel : LinearKernel {
  GaussianTiedKernel(Index component_count, Index columns) : LinearKernel{{component_count, 1 + columns}} {}
  Index columns() const { return width - 1; }
  // Of a CPU lane.
  Index workspace_bytes() const { return 8 * columns() * (tile_rows + columns()); }

  template <class Real>
  MatrixView<const Real> rows_of(MatrixView<const Real> features) const {
    return {features.data + 1, features.rows, columns(), features.stride};
  }

  template <class Lane, class Real>
  void row_log_densities(Lane& lane, MatrixView<const Real> features, const Real* coefficients, Real* out) const {
    const MatrixView<Real> whitened = lane.template workspace<Real>(features.rows, columns());
    lane.multiply_nt(rows_of(features), MatrixView<const Real>(coefficients + components * width, columns(), columns()), whitened);
    lane.for_each(features.rows, generic::HalfNorm<Real>{whitened, out});
  }
  template <class Lane, class Real>
  void add_unlabelled(Lane& lane, MatrixView<const Real> features, const Real* weights, double* statistics) const {
    const Index D = columns();
    const MatrixView<const Real> x = rows_of(features);
    MatrixView<const Real> weighted = x;
    if (weights) {
      const MatrixView<Real> out = lane.template workspace<Real>(x.rows, D);
      lane.for_each(x.rows, generic::WeightedRow<Real>{x, weights, out});
      weighted = out;
    }
    const MatrixView<double> products = lane.template workspace<double, 1>(D, D);
    lane.for_each(D * D, generic::SetToZero{products.data});
    lane.add_multiply_tn(weighted, x, products);
    lane.for_each(D, generic::AddUpperRow{products, statistics + components * width});
  }
};


// Any of these, but about their means for components so far from the data's centre that squares about it would cancel (see
// GaussianFamily::either_coefficients); tied for all of them or none. These cost twice as many operations and more.
template <class Kernel>
struct GaussianAboutMeans {
  Kernel at_centre;
  Index columns;

  static constexpr bool tied = std::is_same_v<Kernel, GaussianTiedKernel>;
  static constexpr bool full = std::is_same_v<Kernel, GaussianFullKernel>;
  static constexpr bool whitens = tied || full;
  static constexpr bool diag = std::is_same_v<Kernel, GaussianDiagKernel>;

  // Of a CPU lane.
  Index workspace_bytes() const {
    const Index D = columns;
    if constexpr (!whitens) return 8 * tile_rows * (D + at_centre.width);
    Index rows = 8 * tile_rows * 2 * (1 + D);
    if constexpr (full) rows = std::max(rows, at_centre.workspace_bytes());
    return rows + 8 * ((1 + D) * (1 + D) + D * D);
  }

  template <class Real>
  MatrixView<const Real> rows_of(MatrixView<const Real> features) const {
    return {features.data + 1, features.rows, columns, features.stride};
  }

  template <class Lane, class Real>
  void log_densities(Lane& lane, MatrixView<const Real> features, const FamilyCoefficients<Real>& of, MatrixView<Real> logits) const {
    const Index width = at_centre.width;
    const auto logits_of = [&](Index first, Index count) { return MatrixView<Real>(logits.data + first, logits.rows, count, logits.stride); };
    if constexpr (full) {
      if (of.about_means.size() < static_cast<std::size_t>(at_centre.components))
        at_centre.for_each_slab(lane, features, [&](Index monomial, MatrixView<const Real> monomials) {
          for_each_run(of.about_means, [&](Index first, Index count) {
            part(count).add_to_logits(lane, monomial, monomials, of.values + first * width, logits_of(first, count));
          });
        });
    } else {
      for_each_run(of.about_means, [&](Index first, Index count) {
        part(count).log_densities(lane, features, of.values + first * width, logits_of(first, count));
      });
    }
    const MatrixView<const Real> x = rows_of(features);
    for (const Index k : of.about_means) {
      const Real* const own = of.values + k * width;  // the constant, the mean, the scale
      const double* const mean = of.exact + k * width + 1;
      if constexpr (whitens) {
        const MatrixView<Real> room = lane.template workspace<Real>(x.rows, 2 * columns);
        const MatrixView<Real> centred(room.data, x.rows, columns, room.stride);
        const MatrixView<Real> whitened(room.data + columns, x.rows, columns, room.stride);
        lane.for_each(x.rows, generic::CentredRow<Real>{x, mean, centred});
        lane.multiply_nt(MatrixView<const Real>(centred), inverse_factor(lane, of.values, own), whitened);
        lane.for_each(x.rows, generic::HalfNorm<Real>{whitened, logits.data + k, logits.stride, own});
      } else {
        lane.for_each(x.rows, generic::HalfScaledNorm<Real>{x, own, mean, own + 1 + columns, diag ? 1 : 0, logits.data + k,
                                                            logits.stride});
      }
    }
  }

  template <class Lane, class Real>
  void add_weighted(Lane& lane, MatrixView<const Real> features, const FamilyCoefficients<Real>& of, MatrixView<const Real> posterior,
                    double* statistics) const {
    const Index width = at_centre.width, D = columns;
    const auto posterior_of = [&](Index first, Index count) {
      return MatrixView<const Real>(posterior.data + first, posterior.rows, count, posterior.stride);
    };
    if constexpr (full) {
      if (of.about_means.size() < static_cast<std::size_t>(at_centre.components))
        at_centre.for_each_slab(lane, features, [&](Index monomial, MatrixView<const Real> monomials) {
          for_each_run(of.about_means, [&](Index first, Index count) {
            part(count).add_to_sums(lane, monomial, monomials, posterior_of(first, count), statistics + first * width);
          });
        });
    } else {
      for_each_run(of.about_means, [&](Index first, Index count) {
        part(count).add_weighted(lane, features, posterior_of(first, count), statistics + first * width);
      });
    }
    const MatrixView<const Real> x = rows_of(features);
    double* const scatter = statistics + at_centre.components * width;
    double* const tiles = scatter + (tied ? D * (D + 1) / 2 : 0);
    for (const Index k : of.about_means) {
      const double* const mean = of.exact + k * width + 1;
      double* const moments = statistics + k * width;
      if constexpr (whitens) {
        const MatrixView<Real> room = lane.template workspace<Real>(x.rows, 2 * (1 + D));
        const MatrixView<Real> centred(room.data, x.rows, 1 + D, room.stride);
        const MatrixView<Real> weighted(room.data + 1 + D, x.rows, 1 + D, room.stride);
        const MatrixView<double> sums = lane.template workspace<double, 1>(1 + D, 1 + D);
        lane.for_each(x.rows, generic::WeightedCentredRow<Real>{x, mean, posterior.data + k, posterior.stride, centred, weighted});
        lane.for_each((1 + D) * (1 + D), generic::SetToZero{sums.data});
        lane.add_multiply_tn(MatrixView<const Real>(weighted), MatrixView<const Real>(centred), sums);
        lane.for_each(1 + D, generic::AddValues{sums.data, moments});
        lane.for_each(D, generic::AddUpperRow{MatrixView<const double>(sums.row(1) + 1, D, D, sums.stride),
                                              tied ? scatter : moments + 1 + D});
      } else {
        const MatrixView<Real> room = lane.template workspace<Real>(x.rows, D + width);
        const MatrixView<Real> centred(room.data, x.rows, D, room.stride);
        const MatrixView<Real> of_centred(room.data + D, x.rows, width, room.stride);
        lane.for_each(x.rows, generic::CentredRow<Real>{x, mean, centred});
        at_centre.features(lane, MatrixView<const Real>(centred), of_centred);
        lane.add_multiply_tn(MatrixView<const Real>(posterior.data + k, x.rows, 1, posterior.stride),
                             MatrixView<const Real>(of_centred), MatrixView<double>(moments, 1, width));
      }
      lane.for_each(1, generic::AddOne{tiles + k});
    }
  }

 private:
  // Some of the components, next to one another.
  Kernel part(Index count) const {
    Kernel kernel = at_centre;
    kernel.components = count;
    return kernel;
  }
  // work(first, count) for those between the ones about means.
  template <class Work>
  void for_each_run(std::span<const Index> about_means, const Work& work) const {
    Index first = 0;
    for (std::size_t i = 0; i <= about_means.size(); ++i) {
      const Index end = i < about_means.size() ? about_means[i] : at_centre.components;
      if (end > first) work(first, end - first);
      first = end + 1;
    }
  }

  template <class Lane, class Real>
  MatrixView<const Real> inverse_factor(Lane& lane, const Real* coefficients, const Real* own) const {
    if constexpr (tied) {
      return {coefficients + at_centre.components * at_centre.width, columns, columns};
    } else {
      const MatrixView<Real> dense = lane.template workspace<Real, 1>(columns, columns);
      lane.for_each(columns, generic::LowerRow<Real>{own + 1 + columns, dense});
      return dense;
    }
  }
};

// One of the kernels above, and the same about means.
template <class Kernel>
struct EitherForm : Kernel {
  Index columns_of_rows;

  EitherForm(const Kernel& at_centre, Index columns) : Kernel(at_centre), columns_of_rows(columns) {}
  template <class Lane>
  Index feature_width_on() const {
    if constexpr (std::is_same_v<Kernel, GaussianFullKernel>)
      return Kernel::template feature_width_on<Lane>(columns_of_rows);
    else
      return Kernel::feature_width();
  }
  GaussianAboutMeans<Kernel> about_means() const { return {*this, columns_of_rows}; }
};

}  // namespace tally
