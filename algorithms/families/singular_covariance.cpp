#include "algorithms/families/singular_covariance.hpp"

#include <limits>
#include <string>

#include "core/blas.hpp"
#include "core/error.hpp"

namespace tally {

void refuse_singular(Index component, Index column, const char* which) {
  const std::string whose =
      component < 0 ? "the " + std::string(which) + " covariance" : "the covariance of component " + std::to_string(component);
  throw DataError(whose + " is singular in column " + std::to_string(column) +
                  " (both counted from 0): the column is constant there or a combination of earlier columns, or the "
                  "component collapsed; use a larger --reg-covar, fewer components, or leave the column out");
}

std::vector<double> factor_of(std::span<const double> covariance, Index D, std::span<const double> moments,
                              Index component, const char* which) {
  std::vector<double> factor(covariance.begin(), covariance.end());
  const MatrixView<double> L(factor.data(), D, D);
  const Index failed = blas::cholesky(L);
  if (failed > 0) refuse_singular(component, failed - 1, which);
  const double eps = std::numeric_limits<double>::epsilon();
  for (Index d = 0; d < D; ++d) {
    const auto i = static_cast<std::size_t>(d);
    const double variance = covariance[i * static_cast<std::size_t>(D) + i];
    const double moment = moments.empty() ? 0.0 : moments[i];
    if (!(L(d, d) * L(d, d) > 2 * static_cast<double>(D) * eps * variance + 4 * eps * moment))
      refuse_singular(component, d, which);
  }
  return factor;
}

void check_variance(double variance, double second_moment, Index component, Index column, const char* which) {
  if (!(variance > 4 * std::numeric_limits<double>::epsilon() * second_moment)) refuse_singular(component, column, which);
}

}  // namespace tally
