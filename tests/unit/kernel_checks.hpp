#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include "core/view.hpp"

// What the tests of vectorised kernels share: matrices with canaries, every instruction set, ragged shapes.
namespace tally::cpu {

template <class Real>
constexpr Real canary = Real(-12345.5);

template <class Real>
constexpr Real eps = std::numeric_limits<Real>::epsilon();

inline constexpr double inf = std::numeric_limits<double>::infinity();
inline constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// A matrix with canaries behind each row, `shift` elements into its allocation.
template <class T>
class Padded {
 public:
  Padded(Index rows, Index cols, Index padding, Index shift = 0)
      : rows_(rows),
        cols_(cols),
        stride_(cols + padding),
        shift_(shift),
        values_(static_cast<std::size_t>(shift + rows * stride_ + 1), canary<T>) {}

  MatrixView<T> view() { return {values_.data() + shift_, rows_, cols_, stride_}; }
  MatrixView<const T> view() const { return {values_.data() + shift_, rows_, cols_, stride_}; }
  T& operator()(Index i, Index j) { return view()(i, j); }
  const T& operator()(Index i, Index j) const { return view()(i, j); }

  template <class Generate>
  Padded& fill(Generate generate) {
    for (Index i = 0; i < rows_; ++i) {
      for (Index j = 0; j < cols_; ++j) (*this)(i, j) = static_cast<T>(generate());
    }
    return *this;
  }

  bool canaries_live() const {
    for (Index e = 0; e < static_cast<Index>(values_.size()); ++e) {
      const Index inside = e - shift_;
      const bool element = inside >= 0 && inside < rows_ * stride_ && inside % stride_ < cols_;
      if (!element && values_[e] != canary<T>) return false;
    }
    return true;
  }

  std::vector<T> elements() const {
    std::vector<T> result;
    for (Index i = 0; i < rows_; ++i) result.insert(result.end(), view().row(i), view().row(i) + cols_);
    return result;
  }

 private:
  Index rows_, cols_, stride_, shift_;
  std::vector<T> values_;
};

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// A standard normal generator with a seed of its own.
inline std::function<double()> normal(std::uint64_t seed, double scale = 1.0) {
  return [engine = std::mt19937_64(seed), distribution = std::normal_distribution<double>(
                                              0.0, scale)]() mutable { return distribution(engine); };
}

// Runs `check` once for every instruction set of this processor that the kernels were compiled for.
inline void on_every_target(const std::function<void()>& check) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(target);
    check();
    hwy::SetSupportedTargetsForTest(0);
  }
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

// Every width up to 70 once, with row counts, paddings and offsets that vary along.
template <class Check>
void for_ragged_shapes(Check check) {
  for (Index cols = 1; cols <= 70; ++cols) check(cols % 10, cols, cols % 4, cols % 3);
}

}  // namespace tally::cpu
