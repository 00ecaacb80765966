#include "launch/bench/naive.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <string>

#include "core/blas.hpp"
#include "core/error.hpp"

namespace tally::bench {
namespace {

// log p(x | component k) of one row.
using LogDensity = std::function<double(const double* x, Index k)>;

double log_sum_over_components(const std::vector<double>& weights, const LogDensity& log_density,
                               const double* x) {
  std::vector<double> terms;
  for (std::size_t k = 0; k < weights.size(); ++k)
    terms.push_back(std::log(weights[k]) + log_density(x, static_cast<Index>(k)));
  const double largest = *std::max_element(terms.begin(), terms.end());
  double sum = 0;
  for (const double term : terms) sum += std::exp(term - largest);
  return largest + std::log(sum);
}

// Entry (i, j) of the covariance of component k, from any of the four shapes.
double covariance_entry(const std::string& shape, const std::vector<double>& values, Index D, Index k,
                        Index i, Index j) {
  const auto at = [&](Index position) { return values[static_cast<std::size_t>(position)]; };
  if (shape == "full") return at((k * D + i) * D + j);
  if (shape == "tied") return at(i * D + j);
  if (i != j) return 0;
  return shape == "diag" ? at(k * D + i) : at(k);
}

LogDensity gaussian_log_density(const std::string& shape, const NamedArrays& parameters, Index D) {
  const auto& means = parameters.at("means").values;
  const Index K = static_cast<Index>(means.size()) / D;
  std::vector<double> factors(static_cast<std::size_t>(K * D * D));
  for (Index k = 0; k < K; ++k) {
    const MatrixView<double> factor(factors.data() + k * D * D, D, D);
    for (Index i = 0; i < D; ++i)
      for (Index j = 0; j < D; ++j)
        factor(i, j) = covariance_entry(shape, parameters.at("covariances").values, D, k, i, j);
    if (blas::cholesky(factor) != 0) throw DataError("a covariance is singular");
  }
  return [=](const double* x, Index k) {
    const MatrixView<const double> factor(factors.data() + k * D * D, D, D);
    std::vector<double> z(static_cast<std::size_t>(D));
    double result = -0.5 * static_cast<double>(D) * std::log(2 * std::numbers::pi);
    for (Index i = 0; i < D; ++i) {
      double rest = x[i] - means[static_cast<std::size_t>(k * D + i)];
      for (Index j = 0; j < i; ++j) rest -= factor(i, j) * z[static_cast<std::size_t>(j)];
      const double scaled = rest / factor(i, i);
      z[static_cast<std::size_t>(i)] = scaled;
      result -= 0.5 * scaled * scaled + std::log(factor(i, i));
    }
    return result;
  };
}

LogDensity student_log_density(const std::string& shape, NamedArrays parameters, Index D) {
  parameters["covariances"] = parameters.at("scales");
  return [D, degrees = parameters.at("degrees_of_freedom").values, means = parameters.at("means").values,
          normal = gaussian_log_density(shape, parameters, D)](const double* x, Index k) {
    // The normal density at its mean and the distance from there are what the two have in common.
    const double at_mean = normal(means.data() + k * D, k), q = 2 * (at_mean - normal(x, k));
    const double half = 0.5 * static_cast<double>(D), nu = degrees[static_cast<std::size_t>(k)];
    return at_mean + half * std::log(2 / nu) + std::lgamma(nu / 2 + half) - std::lgamma(nu / 2) -
           (nu / 2 + half) * std::log1p(q / nu);
  };
}

// Of a product over columns: `log_factor` is given a value of the row and the number of its parameter.
template <typename LogFactor>
LogDensity column_log_density(Index D, LogFactor log_factor) {
  return [=](const double* x, Index k) {
    double result = 0;
    for (Index d = 0; d < D; ++d) result += log_factor(x[d], static_cast<std::size_t>(k * D + d));
    return result;
  };
}

LogDensity poisson_log_density(const NamedArrays& parameters, Index D) {
  return column_log_density(D, [rates = parameters.at("rates").values](double count, std::size_t at) {
    return count * std::log(rates[at]) - rates[at] - std::lgamma(count + 1);
  });
}

LogDensity exponential_log_density(const NamedArrays& parameters, Index D) {
  return column_log_density(D, [rates = parameters.at("rates").values](double x, std::size_t at) {
    return std::log(rates[at]) - rates[at] * x;
  });
}

LogDensity gamma_log_density(const NamedArrays& parameters, Index D) {
  return column_log_density(D, [shapes = parameters.at("shapes").values, scales = parameters.at("scales").values](
                                   double x, std::size_t at) {
    return (shapes[at] - 1) * std::log(x) - x / scales[at] - shapes[at] * std::log(scales[at]) - std::lgamma(shapes[at]);
  });
}

double log_factorial(double n) { return std::lgamma(n + 1); }

LogDensity binomial_log_density(const NamedArrays& parameters, double trials, Index D) {
  return column_log_density(D, [trials, p = parameters.at("probabilities").values](double x, std::size_t at) {
    const double failures = trials - x, ways = log_factorial(trials) - log_factorial(x) - log_factorial(failures);
    return ways + (x == 0 ? 0 : x * std::log(p[at])) + (failures == 0 ? 0 : failures * std::log(1 - p[at]));
  });
}

LogDensity multinomial_log_density(const NamedArrays& parameters, Index D) {
  return [D, p = parameters.at("probabilities").values](const double* x, Index k) {
    double result = 0, total = 0;
    for (Index d = 0; d < D; ++d) {
      total += x[d];
      if (x[d] > 0) result += x[d] * std::log(p[static_cast<std::size_t>(k * D + d)]) - log_factorial(x[d]);
    }
    return result + log_factorial(total);
  };
}

// log I_order(x), term by term of the power series.
double log_bessel(double order, double x) {
  double log_term = order * std::log(x / 2) - std::lgamma(order + 1), sum = log_term;
  for (double m = 1; m < x || log_term > sum - 40; ++m) {
    log_term += 2 * std::log(x / 2) - std::log(m * (m + order));
    const double larger = std::max(sum, log_term);
    sum = larger + std::log(std::exp(sum - larger) + std::exp(log_term - larger));
  }
  return sum;
}

LogDensity direction_log_density(const NamedArrays& parameters, Index D) {
  const std::vector<double>& kappas = parameters.at("concentrations").values;
  const double half = 0.5 * static_cast<double>(D);
  std::vector<double> constants;
  for (const double kappa : kappas)
    constants.push_back((half - 1) * std::log(kappa) - half * std::log(2 * std::numbers::pi) - log_bessel(half - 1, kappa));
  return [D, kappas, constants, means = parameters.at("mean_directions").values](const double* x, Index k) {
    double along = 0;
    for (Index d = 0; d < D; ++d) along += x[d] * means[static_cast<std::size_t>(k * D + d)];
    return constants[static_cast<std::size_t>(k)] + kappas[static_cast<std::size_t>(k)] * along;
  };
}

LogDensity symbol_log_density(const NamedArrays& parameters, Index D) {
  const Array& probabilities = parameters.at("probabilities");
  const auto symbols = static_cast<std::size_t>(probabilities.shape.back());
  return column_log_density(D, [symbols, values = probabilities.values](double symbol, std::size_t at) {
    return std::log(values[at * symbols + static_cast<std::size_t>(symbol)]);
  });
}

LogDensity bit_log_density(const NamedArrays& parameters, Index D) {
  return column_log_density(D, [ones = parameters.at("probabilities").values](double bit, std::size_t at) {
    return std::log(bit == 0 ? 1 - ones[at] : ones[at]);
  });
}

// Of a family by its word as a mixture or as an emission; nothing for one that is not known.
LogDensity log_density_of(const std::string& family, const Model& model, const NamedArrays& parameters,
                          Index D) {
  if (family == "gmm" || family == "gaussian")
    return gaussian_log_density(model.options().at("covariance"), parameters, D);
  if (family == "poisson") return poisson_log_density(parameters, D);
  if (family == "exponential") return exponential_log_density(parameters, D);
  if (family == "gamma") return gamma_log_density(parameters, D);
  if (family == "binomial") return binomial_log_density(parameters, std::stod(model.options().at("trials")), D);
  if (family == "multinomial") return multinomial_log_density(parameters, D);
  if (family == "von-mises-fisher") return direction_log_density(parameters, D);
  if (family == "student-t") return student_log_density(model.options().at("covariance"), parameters, D);
  if (family == "categorical") return symbol_log_density(parameters, D);
  if (family == "bernoulli") return bit_log_density(parameters, D);
  return nullptr;
}

// Each row's log-density given those before it in its sequence: the forward recursion in logarithms.
std::vector<double> forward_log_densities(const NamedArrays& parameters, const LogDensity& log_density,
                                          MatrixView<const double> x, const Sequences& sequences) {
  const auto &start = parameters.at("startprob").values, &transitions = parameters.at("transmat").values;
  const std::size_t K = start.size();
  std::vector<double> predicted, results;
  for (Index t = 0; t < x.rows; ++t) {
    if (sequences.first_row(sequences.sequence_of(t)) == t) predicted = start;
    results.push_back(log_sum_over_components(predicted, log_density, x.row(t)));
    std::vector<double> next(K, 0.0);
    for (std::size_t i = 0; i < K; ++i) {
      const double filtered =
          predicted[i] * std::exp(log_density(x.row(t), static_cast<Index>(i)) - results.back());
      for (std::size_t j = 0; j < K; ++j) next[j] += filtered * transitions[i * K + j];
    }
    predicted = next;
  }
  return results;
}

double nearest_squared_distance(const std::vector<double>& centers, Index D, const double* x) {
  double nearest = std::numeric_limits<double>::infinity();
  for (std::size_t first = 0; first < centers.size(); first += static_cast<std::size_t>(D)) {
    double distance = 0;
    for (Index d = 0; d < D; ++d) {
      const double difference = x[d] - centers[first + static_cast<std::size_t>(d)];
      distance += difference * difference;
    }
    nearest = std::min(nearest, distance);
  }
  return nearest;
}

}  // namespace

std::optional<std::vector<double>> naive_objectives(const Model& model, std::span<const double> parameters,
                                                    MatrixView<const double> x, const Sequences* sequences) {
  const NamedArrays arrays = model.describe(parameters);
  const Index D = x.cols;
  std::vector<double> results;
  if (model.name() == "kmeans") {
    for (Index i = 0; i < x.rows; ++i)
      results.push_back(nearest_squared_distance(arrays.at("centers").values, D, x.row(i)));
    return results;
  }
  const bool chain = model.name() == "hmm";
  if (chain && model.densities() != model.components()) return std::nullopt;  // states that emit mixtures
  const LogDensity density =
      log_density_of(chain ? model.options().at("emission") : model.name(), model, arrays, D);
  if (!density) return std::nullopt;
  if (chain) return forward_log_densities(arrays, density, x, *sequences);
  for (Index i = 0; i < x.rows; ++i)
    results.push_back(log_sum_over_components(arrays.at("weights").values, density, x.row(i)));
  return results;
}

}  // namespace tally::bench
