#include "algorithms/families/singular_covariance.hpp"

#include <string>

#include "core/blas.hpp"
#include "core/error.hpp"

namespace tally {

void refuse_singular(Index component, Index column, const char* which) {
  const std::string whose =
      component < 0 ? "the " + std::string(which) + " covariance" : "the covariance of component " + std::to_string(component);
  throw DataError(whose + " is singular in column " + std::to_string(column) +
                  " (both counted from 0): the column is constant there or a combination of earlier columns, or the " +
                  singular_advice);
}

Index first_small_pivot(MatrixView<double> covariance, double relative, std::span<const double> least) {
  std::vector<double> variances;
  for (Index d = 0; d < covariance.rows; ++d) variances.push_back(covariance(d, d));
  const Index failed = blas::cholesky(covariance) - 1;
  for (Index d = 0; d < (failed < 0 ? covariance.rows : failed); ++d) {
    const auto i = static_cast<std::size_t>(d);
    if (!(covariance(d, d) * covariance(d, d) > relative * variances[i] + least[i])) return d;
  }
  return failed;
}

std::vector<double> factor_of(std::span<const double> covariance, Index D, std::span<const double> moments,
                              Index component, const char* which) {
  std::vector<double> factor(covariance.begin(), covariance.end()), least(static_cast<std::size_t>(D));
  for (std::size_t d = 0; d < moments.size(); ++d) least[d] = moment_rounding * moments[d];
  const double relative = 2 * static_cast<double>(D) * std::numeric_limits<double>::epsilon();
  const Index column = first_small_pivot({factor.data(), D, D}, relative, least);
  if (column >= 0) refuse_singular(component, column, which);
  return factor;
}

void check_variance(double variance, double second_moment, Index component, Index column, const char* which) {
  if (!(variance > moment_rounding * second_moment)) refuse_singular(component, column, which);
}

}  // namespace tally
