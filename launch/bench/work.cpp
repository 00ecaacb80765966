#include "launch/bench/work.hpp"

namespace tally::bench {
namespace {

// 4NKP with P the width of T(x): two products, each of a multiplication and an addition.
Work of_mixture(double N, double K, double P, const std::string& width) {
  return {4 * N * K * P, "4NKP, P = " + width, 0};
}

Work operations_of(const Workload& workload) {
  const auto N = static_cast<double>(workload.rows), D = static_cast<double>(workload.columns),
             K = static_cast<double>(workload.components);
  const double squares = D * (D + 1) / 2;
  const std::string& model = workload.model->name;
  if (model == "kmeans") return {2 * N * K * D, "2NKD", 0};
  if (model == "hmm") return {6 * N * K * K, "6TK^2, emissions not counted", 0};
  if (model == "poisson" || model == "exponential" || model == "multinomial" || model == "von-mises-fisher")
    return of_mixture(N, K, 1 + D, "1 + D");
  if (model == "bernoulli" || model == "binomial" || model == "gamma") return of_mixture(N, K, 1 + 2 * D, "1 + 2D");
  if (model == "categorical") return {2 * N * K * D, "2NKD additions of table entries", 0};
  if (model != "gmm" && model != "student-t") return {};
  const auto found = workload.options.find("covariance");
  const std::string covariance = found == workload.options.end() ? "full" : found->second;
  if (model == "student-t") {  // whose statistics take the distances a second time
    const double P = covariance == "full" ? 1 + D + squares : covariance == "diag" ? 1 + 2 * D : 2 + D;
    return {6 * N * K * P, "6NKP, P of the Gaussian", 0};
  }
  if (covariance == "full") return of_mixture(N, K, 1 + D + squares, "1 + D + D(D+1)/2");
  // What all components share is counted once.
  if (covariance == "tied") return {4 * N * (K * (1 + D) + squares), "4N(K(1 + D) + D(D+1)/2)", 0};
  if (covariance == "diag") return of_mixture(N, K, 1 + 2 * D, "1 + 2D");
  return of_mixture(N, K, 2 + D, "2 + D");
}

}  // namespace

Work work_of(const Workload& workload) {
  Work work = operations_of(workload);
  work.bytes = static_cast<double>(workload.rows) * static_cast<double>(workload.columns) *
               (in_float(workload.precision) ? 4 : 8);
  return work;
}

}  // namespace tally::bench
