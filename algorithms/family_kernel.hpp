#pragma once
#include <algorithm>
#include <memory>
#include <span>

#include "algorithms/kernel.hpp"

namespace tally {

// The coefficients of a candidate, and for which components they are about their means (see Coefficients).
template <class Real>
struct FamilyCoefficients {
  const Real* values = nullptr;  // null: the posterior was given
  const double* exact = nullptr;
  std::span<const Index> about_means = {};
};

// What an observation family does to a tile, as engines see it: these are compiled once for a kind of lane and a precision,
// not once more for each family. A call is for a tile of rows, so that it costs nothing. Features, most often the monomials T(x)
// (rows, P), are shared by all candidates. Pointers may be a device's, which the lane alone reads through.
template <class Lane, class Real>
class FamilyKernel {
 public:
  virtual ~FamilyKernel() = default;

  virtual Index feature_width() const = 0;  // P, or less where monomials are made as they are multiplied
  virtual void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const = 0;
  // Of every component (rows, K).
  virtual void log_densities(Lane& lane, MatrixView<const Real> features, const FamilyCoefficients<Real>& of,
                             MatrixView<Real> logits) const = 0;
  // What is the same for all components of a row (rows). Whether there is anything.
  virtual bool row_log_densities(Lane& lane, MatrixView<const Real> features, const FamilyCoefficients<Real>& of, Real* out) const = 0;
  // Adds rows weighted by posterior weights (rows, K).
  virtual void add_weighted(Lane& lane, MatrixView<const Real> features, const FamilyCoefficients<Real>& of,
                            MatrixView<const Real> posterior, double* statistics) const = 0;
  // Adds what does not ask for the component, of rows with these weights (null: 1 each); only where has_unlabelled().
  virtual bool has_unlabelled(const FamilyCoefficients<Real>& of) const = 0;
  virtual void add_unlabelled(Lane& lane, MatrixView<const Real> features, const Real* weights, double* statistics) const = 0;
  // What it takes of a CPU lane's workspace, where that is much.
  virtual Index workspace_bytes() const = 0;
};

// A kernel of any type, made of shapes alone, as a FamilyKernel. It need not have what not all have: feature_width_on<Lane>(),
// row_log_densities, add_unlabelled, workspace_bytes, the coefficients in add_weighted; about_means(), a kernel whose log_densities and
// add_weighted take all of FamilyCoefficients and do all that is to be done.
template <class Kernel, class Lane, class Real>
class FamilyKernelOf final : public FamilyKernel<Lane, Real> {
  using Rows = MatrixView<const Real>;

 public:
  explicit FamilyKernelOf(const Kernel& kernel) : kernel_(kernel) {}

  Index feature_width() const override {
    if constexpr (requires { kernel_.template feature_width_on<Lane>(); }) return kernel_.template feature_width_on<Lane>();
    return kernel_.feature_width();
  }
  void features(Lane& lane, Rows x, MatrixView<Real> out) const override { kernel_.features(lane, x, out); }
  void log_densities(Lane& lane, Rows features, const FamilyCoefficients<Real>& of, MatrixView<Real> logits) const override {
    if constexpr (has_form_about_means)
      if (!of.about_means.empty()) return kernel_.about_means().log_densities(lane, features, of, logits);
    kernel_.log_densities(lane, features, of.values, logits);
  }
  bool row_log_densities(Lane& lane, Rows features, const FamilyCoefficients<Real>& of, Real* out) const override {
    if constexpr (requires { kernel_.row_log_densities(lane, features, of.values, out); }) {
      if (!of.about_means.empty()) return false;
      kernel_.row_log_densities(lane, features, of.values, out);
      return true;
    }
    return false;
  }
  void add_weighted(Lane& lane, Rows features, const FamilyCoefficients<Real>& of, Rows posterior, double* statistics) const override {
    if constexpr (has_form_about_means)
      if (!of.about_means.empty())
        return kernel_.about_means().add_weighted(lane, features, of, posterior, statistics);
    if constexpr (requires { kernel_.add_weighted(lane, features, of.values, posterior, statistics); })
      kernel_.add_weighted(lane, features, of.values, posterior, statistics);
    else
      kernel_.add_weighted(lane, features, posterior, statistics);
  }
  bool has_unlabelled(const FamilyCoefficients<Real>& of) const override { return adds_unlabelled && of.about_means.empty(); }
  void add_unlabelled(Lane& lane, Rows features, const Real* weights, double* statistics) const override {
    if constexpr (adds_unlabelled) kernel_.add_unlabelled(lane, features, weights, statistics);
  }
  Index workspace_bytes() const override {
    Index bytes = 0;
    if constexpr (requires { kernel_.workspace_bytes(); }) bytes = kernel_.workspace_bytes();
    if constexpr (has_form_about_means) bytes = std::max(bytes, kernel_.about_means().workspace_bytes());
    return bytes;
  }

 private:
  static constexpr bool has_form_about_means = requires(const Kernel& kernel) { kernel.about_means(); };
  static constexpr bool adds_unlabelled =
      requires(const Kernel& kernel, Lane& lane, Rows features, const Real* weights, double* statistics) {
        kernel.add_unlabelled(lane, features, weights, statistics);
      };
  const Kernel kernel_;
};

template <class Lane>
using FamilyKernels = InBothPrecisions<FamilyKernel, Lane>;

template <class Lane, class Kernel>
FamilyKernels<Lane> family_kernels(const Kernel& kernel) {
  return {std::make_shared<FamilyKernelOf<Kernel, Lane, double>>(kernel),
          std::make_shared<FamilyKernelOf<Kernel, Lane, float>>(kernel)};
}

}  // namespace tally
