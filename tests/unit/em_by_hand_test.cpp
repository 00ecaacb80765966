#include <array>
#include <cmath>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/models/bernoulli.hpp"
#include "algorithms/models/categorical.hpp"
#include "algorithms/models/gmm.hpp"
#include "algorithms/models/kmeans.hpp"
#include "algorithms/models/poisson.hpp"
#include "core/error.hpp"
#include "tests/unit/conformance.hpp"

namespace tally {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Textbook formulas on at most five rows need no more: a few roundings of numbers near 1.
constexpr double rounding = 1e-12;

// Fits `iterations` M-steps from these arrays, in the user's units.
Fitted fit_from(std::unique_ptr<Model> (*make)(Index, Index), const Table& table, const NamedArrays& start,
                Index components, int iterations) {
  const ModelCase model_case{"", make, Precision::double_precision};
  FitPlan plan;
  plan.components = components;
  plan.options.max_iterations = iterations;
  plan.from = FitState{};
  plan.from->candidates.resize(1);
  plan.alter = [&](int, FitState& state, DataSummary& summary) {
    const auto model = make(components, table.columns);
    model->set_standardisation(standardise_for(model->scaling(), summary));
    auto& parameters = state.candidates[0].parameters;
    parameters.resize(static_cast<std::size_t>(model->parameters().size()));
    model->set_defaults(parameters);
    model->read(start, parameters);
  };
  return fit_in_world(model_case, table, {2, 1, false}, plan);
}

template <Covariance covariance>
std::unique_ptr<Model> gaussian(Index components, Index columns) {
  return make_gaussian_mixture(components, columns, {covariance, 0});
}

// Two components in the plane, in textbook form.
struct Plane {
  std::array<double, 2> weight;
  std::array<std::array<double, 2>, 2> mean;
  std::array<std::array<double, 3>, 2> covariance;  // xx, xy, yy
};

double density(const Plane& plane, std::size_t k, double x, double y) {
  const auto [xx, xy, yy] = plane.covariance[k];
  const double determinant = xx * yy - xy * xy;
  const double dx = x - plane.mean[k][0], dy = y - plane.mean[k][1];
  const double distance = (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / determinant;
  return std::exp(-distance / 2) / (2 * std::numbers::pi * std::sqrt(determinant));
}

const Table five_points{2, {0.0, 0.5, 1.0, -0.5, 0.5, 1.5, 4.0, 3.0, 5.5, 2.0}, {}};
const Plane start_plane{{0.4, 0.6}, {{{0.5, 0.5}, {4.0, 2.0}}}, {{{1.0, 0.25, 1.5}, {2.0, -0.5, 1.0}}}};

double log_likelihood(const Plane& plane) {
  double sum = 0;
  for (Index i = 0; i < 5; ++i) {
    const double x = five_points.values[2 * i], y = five_points.values[2 * i + 1];
    sum += std::log(plane.weight[0] * density(plane, 0, x, y) + plane.weight[1] * density(plane, 1, x, y));
  }
  return sum;
}

// One EM step with an unrestricted covariance each, and what each component counts.
Plane step(const Plane& plane, std::array<double, 2>& counts) {
  Plane next{};
  std::array<std::array<double, 5>, 2> r{};
  counts = {};
  for (std::size_t i = 0; i < 5; ++i) {
    const double x = five_points.values[2 * i], y = five_points.values[2 * i + 1];
    const double p0 = plane.weight[0] * density(plane, 0, x, y), p1 = plane.weight[1] * density(plane, 1, x, y);
    r[0][i] = p0 / (p0 + p1);
    r[1][i] = p1 / (p0 + p1);
  }
  for (std::size_t k = 0; k < 2; ++k) {
    for (std::size_t i = 0; i < 5; ++i) {
      counts[k] += r[k][i];
      next.mean[k][0] += r[k][i] * five_points.values[2 * i];
      next.mean[k][1] += r[k][i] * five_points.values[2 * i + 1];
    }
    next.weight[k] = counts[k] / 5;
    for (double& coordinate : next.mean[k]) coordinate /= counts[k];
    for (std::size_t i = 0; i < 5; ++i) {
      const double dx = five_points.values[2 * i] - next.mean[k][0];
      const double dy = five_points.values[2 * i + 1] - next.mean[k][1];
      next.covariance[k][0] += r[k][i] * dx * dx / counts[k];
      next.covariance[k][1] += r[k][i] * dx * dy / counts[k];
      next.covariance[k][2] += r[k][i] * dy * dy / counts[k];
    }
  }
  return next;
}

Array weights_of(const Plane& plane) { return {{2}, {plane.weight[0], plane.weight[1]}}; }
Array means_of(const Plane& plane) {
  return {{2, 2}, {plane.mean[0][0], plane.mean[0][1], plane.mean[1][0], plane.mean[1][1]}};
}

void expect_array(const NamedArrays& arrays, const std::string& name, const std::vector<double>& expected) {
  const auto& values = arrays.at(name).values;
  ASSERT_EQ(values.size(), expected.size()) << name;
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(values[i], expected[i], rounding * (1 + std::abs(expected[i]))) << name << " " << i;
}

void expect_step(const Fitted& fitted, const Plane& start, const Plane& next, const std::vector<double>& covariances) {
  expect_array(fitted.described, "weights", {next.weight[0], next.weight[1]});
  expect_array(fitted.described, "means", {next.mean[0][0], next.mean[0][1], next.mean[1][0], next.mean[1][1]});
  expect_array(fitted.described, "covariances", covariances);
  EXPECT_NEAR(fitted.best().trace[0], log_likelihood(start), rounding * 20);
  EXPECT_NEAR(fitted.best().trace[1], log_likelihood(next), rounding * 20);
}

std::vector<double> both(const std::array<double, 3>& a, const std::array<double, 3>& b) {
  return {a[0], a[1], a[1], a[2], b[0], b[1], b[1], b[2]};
}

TEST(EmByHand, FullCovariances) {
  std::array<double, 2> counts;
  const Plane next = step(start_plane, counts);
  const NamedArrays start = {{"weights", weights_of(start_plane)},
                             {"means", means_of(start_plane)},
                             {"covariances", {{2, 2, 2}, both(start_plane.covariance[0], start_plane.covariance[1])}}};

  const Fitted fitted = fit_from(gaussian<Covariance::full>, five_points, start, 2, 1);

  expect_step(fitted, start_plane, next, both(next.covariance[0], next.covariance[1]));
}

TEST(EmByHand, TiedCovariance) {
  Plane start_here = start_plane;
  start_here.covariance[1] = start_here.covariance[0];
  std::array<double, 2> counts;
  Plane next = step(start_here, counts);
  for (std::size_t i = 0; i < 3; ++i)
    next.covariance[0][i] = next.covariance[1][i] =
        (counts[0] * next.covariance[0][i] + counts[1] * next.covariance[1][i]) / 5;
  const auto& [xx, xy, yy] = start_here.covariance[0];
  const NamedArrays start = {{"weights", weights_of(start_here)},
                             {"means", means_of(start_here)},
                             {"covariances", {{2, 2}, {xx, xy, xy, yy}}}};

  const Fitted fitted = fit_from(gaussian<Covariance::tied>, five_points, start, 2, 1);

  const auto& pooled = next.covariance[0];
  expect_step(fitted, start_here, next, {pooled[0], pooled[1], pooled[1], pooled[2]});
}

TEST(EmByHand, DiagonalCovariances) {
  Plane start_here = start_plane;
  start_here.covariance[0][1] = start_here.covariance[1][1] = 0;
  std::array<double, 2> counts;
  Plane next = step(start_here, counts);
  next.covariance[0][1] = next.covariance[1][1] = 0;
  const NamedArrays start = {{"weights", weights_of(start_here)},
                             {"means", means_of(start_here)},
                             {"covariances", {{2, 2}, {1.0, 1.5, 2.0, 1.0}}}};

  const Fitted fitted = fit_from(gaussian<Covariance::diag>, five_points, start, 2, 1);

  expect_step(fitted, start_here, next,
              {next.covariance[0][0], next.covariance[0][2], next.covariance[1][0], next.covariance[1][2]});
}

TEST(EmByHand, SphericalCovariances) {
  Plane start_here = start_plane;
  start_here.covariance = {{{1.0, 0, 1.0}, {2.0, 0, 2.0}}};
  std::array<double, 2> counts;
  Plane next = step(start_here, counts);
  for (auto& covariance : next.covariance) {
    const double mean = (covariance[0] + covariance[2]) / 2;
    covariance = {mean, 0, mean};
  }
  const NamedArrays start = {{"weights", weights_of(start_here)},
                             {"means", means_of(start_here)},
                             {"covariances", {{2}, {1.0, 2.0}}}};

  const Fitted fitted = fit_from(gaussian<Covariance::spherical>, five_points, start, 2, 1);

  expect_step(fitted, start_here, next, {next.covariance[0][0], next.covariance[1][0]});
}

TEST(EmByHand, PoissonMixture) {
  const std::vector<double> counts = {0, 1, 2, 6, 9};
  const std::array<double, 5> factorials = {1, 1, 2, 720, 362880};
  const std::array<double, 2> weight = {0.3, 0.7}, rate = {1.5, 6.0};
  double log_likelihood = 0;
  std::array<double, 2> total{}, sum{};
  for (std::size_t i = 0; i < 5; ++i) {
    std::array<double, 2> p;
    for (std::size_t k = 0; k < 2; ++k)
      p[k] = weight[k] * std::pow(rate[k], counts[i]) * std::exp(-rate[k]) / factorials[i];
    log_likelihood += std::log(p[0] + p[1]);
    for (std::size_t k = 0; k < 2; ++k) {
      total[k] += p[k] / (p[0] + p[1]);
      sum[k] += p[k] / (p[0] + p[1]) * counts[i];
    }
  }
  const NamedArrays start = {{"weights", {{2}, {0.3, 0.7}}}, {"rates", {{2, 1}, {1.5, 6.0}}}};

  const Fitted fitted = fit_from(make_poisson_mixture, {1, counts, {}}, start, 2, 1);

  EXPECT_NEAR(fitted.best().trace[0], log_likelihood, rounding * 20);
  expect_array(fitted.described, "weights", {total[0] / 5, total[1] / 5});
  expect_array(fitted.described, "rates", {sum[0] / total[0], sum[1] / total[1]});
}

std::unique_ptr<Model> bernoulli(Index components, Index columns) { return make_bernoulli_mixture(components, columns); }
std::unique_ptr<Model> two_symbols(Index components, Index columns) {
  return make_categorical_mixture(components, columns, {2, 0});
}
std::unique_ptr<Model> three_symbols(Index components, Index columns) {
  return make_categorical_mixture(components, columns, {3, 0});
}

// Five rows of two columns: the log-likelihood of a mixture of two and, after an E-step, the weights of the rows that
// have symbol s in column d, (2, 2, S).
struct SymbolStep {
  double log_likelihood = 0;
  std::array<double, 2> total{};
  std::vector<double> counts;
};
SymbolStep symbol_step(const std::vector<double>& x, const std::array<double, 2>& weight,
                       const std::vector<double>& probabilities, std::size_t symbols) {
  SymbolStep step;
  step.counts.resize(probabilities.size());
  for (std::size_t i = 0; i < x.size(); i += 2) {
    const auto place = [&](std::size_t k, std::size_t d) {
      return (2 * k + d) * symbols + static_cast<std::size_t>(x[i + d]);
    };
    std::array<double, 2> p{};
    for (std::size_t k = 0; k < 2; ++k) p[k] = weight[k] * probabilities[place(k, 0)] * probabilities[place(k, 1)];
    step.log_likelihood += std::log(p[0] + p[1]);
    for (std::size_t k = 0; k < 2; ++k) {
      step.total[k] += p[k] / (p[0] + p[1]);
      for (std::size_t d = 0; d < 2; ++d) step.counts[place(k, d)] += p[k] / (p[0] + p[1]);
    }
  }
  return step;
}

TEST(EmByHand, BernoulliMixture) {
  const std::vector<double> bits = {0, 1, 1, 1, 1, 0, 0, 0, 1, 1};
  const SymbolStep step = symbol_step(bits, {0.3, 0.7}, {0.75, 0.25, 0.5, 0.5, 0.1, 0.9, 0.4, 0.6}, 2);
  const NamedArrays start = {{"weights", {{2}, {0.3, 0.7}}}, {"probabilities", {{2, 2}, {0.25, 0.5, 0.9, 0.6}}}};

  const Fitted fitted = fit_from(bernoulli, {2, bits, {}}, start, 2, 1);

  EXPECT_NEAR(fitted.best().trace[0], step.log_likelihood, rounding * 20);
  expect_array(fitted.described, "weights", {step.total[0] / 5, step.total[1] / 5});
  expect_array(fitted.described, "probabilities",
               {step.counts[1] / step.total[0], step.counts[3] / step.total[0], step.counts[5] / step.total[1],
                step.counts[7] / step.total[1]});
}

TEST(EmByHand, CategoricalMixture) {
  const std::vector<double> symbols = {0, 2, 1, 1, 2, 0, 0, 0, 1, 2};
  // Component 0 has no symbol 2 in column 0, and no row ever gives it one.
  const std::vector<double> probabilities = {0.75, 0.25, 0, 0.5, 0.25, 0.25, 0.1, 0.5, 0.4, 0.3, 0.3, 0.4};
  const SymbolStep step = symbol_step(symbols, {0.3, 0.7}, probabilities, 3);
  std::vector<double> expected = step.counts;
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] /= step.total[i / 6];
  const NamedArrays start = {{"weights", {{2}, {0.3, 0.7}}}, {"probabilities", {{2, 2, 3}, probabilities}}};

  const Fitted fitted = fit_from(three_symbols, {2, symbols, {}}, start, 2, 1);

  EXPECT_NEAR(fitted.best().trace[0], step.log_likelihood, rounding * 20);
  expect_array(fitted.described, "weights", {step.total[0] / 5, step.total[1] / 5});
  expect_array(fitted.described, "probabilities", expected);
  EXPECT_EQ(fitted.described.at("probabilities").values[2], 0);
}

TEST(EmByHand, CountsAddedToSymbolsAreAPrior) {
  const auto smoothed = [](Index components, Index columns) {
    return make_categorical_mixture(components, columns, {3, 0.5});
  };
  const auto smoothed_bits = [](Index components, Index columns) {
    return make_bernoulli_mixture(components, columns, {2});
  };

  const Fitted categorical = fit_from(smoothed, {1, {0, 0, 0, 1}, {}}, {}, 1, 1);
  const Fitted bits = fit_from(smoothed_bits, {1, {0, 0, 0, 1}, {}}, {}, 1, 1);

  expect_array(categorical.described, "probabilities", {3.5 / 5.5, 1.5 / 5.5, 0.5 / 5.5});
  expect_array(bits.described, "probabilities", {3.0 / 8});
}

TEST(EmByHand, BitsAreTwoSymbols) {
    const std::vector<double> bits = {0, 1, 1, 1, 1, 0, 0, 0, 1, 1};
  const NamedArrays of_bits = {{"probabilities", {{2, 2}, {0.25, 0.5, 1, 0.6}}}};
  const NamedArrays of_symbols = {{"probabilities", {{2, 2, 2}, {0.75, 0.25, 0.5, 0.5, 0, 1, 0.4, 0.6}}}};

  const Fitted expected = fit_from(bernoulli, {2, bits, {}}, of_bits, 2, 4);
  const Fitted fitted = fit_from(two_symbols, {2, bits, {}}, of_symbols, 2, 4);

  const std::vector<double>& ones = expected.described.at("probabilities").values;
  std::vector<double> both;
  for (const double p : ones) both.insert(both.end(), {1 - p, p});
  expect_array(fitted.described, "probabilities", both);
  for (std::size_t t = 0; t < 5; ++t) EXPECT_NEAR(fitted.best().trace[t], expected.best().trace[t], rounding * 20);
}

TEST(EmByHand, ColumnsThatAreConstantAddExactlyNothing) {
  const Table constant{3, {0, 1, 1, 0, 1, 0, 0, 1, 1}, {}}, varying{1, {1, 0, 1}, {}};
  for (const auto make : {bernoulli, two_symbols}) {
    const Fitted with = fit_from(make, constant, {}, 1, 2), without = fit_from(make, varying, {}, 1, 2);
    EXPECT_EQ(with.best().trace.back(), without.best().trace.back());
  }
  EXPECT_EQ(fit_from(bernoulli, constant, {}, 1, 2).described.at("probabilities").values[0], 0);
  EXPECT_EQ(fit_from(bernoulli, constant, {}, 1, 2).described.at("probabilities").values[1], 1);
}

TEST(EmByHand, ASymbolThatNoComponentHasIsImpossible) {
  const auto failure_of = [](std::unique_ptr<Model> (*make)(Index, Index), const NamedArrays& start) -> std::string {
    try {
      fit_from(make, {1, {0, 1}, {}}, start, 1, 3);
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  };

  EXPECT_THAT(failure_of(bernoulli, {{"probabilities", {{1}, {0}}}}), HasSubstr("some row is impossible"));
  EXPECT_THAT(failure_of(bernoulli, {{"probabilities", {{1}, {1}}}}), HasSubstr("some row is impossible"));
  EXPECT_THAT(failure_of(three_symbols, {{"probabilities", {{1, 3}, {1, 0, 0}}}}), HasSubstr("some row is impossible"));
  EXPECT_THAT(failure_of(bernoulli, {{"probabilities", {{1}, {1.5}}}}), HasSubstr("not within 0 to 1"));
  EXPECT_THAT(failure_of(three_symbols, {{"probabilities", {{1, 3}, {0.5, 0, 0}}}}), HasSubstr("column 0 of component 0"));
  EXPECT_THAT(failure_of(three_symbols, {{"probabilities", {{1, 2}, {0.5, 0.5}}}}), HasSubstr("(1, 1, 3) is needed"));
}

TEST(EmByHand, KMeans) {
  // Nearest to 0: -1, 1, 2; nearest to 10: 8, 12. Inertia 1 + 1 + 4 + 4 + 4; then about the means 2/3 and 10.
  const NamedArrays start = {{"centers", {{2, 1}, {0, 10}}}};

  const Fitted fitted = fit_from(make_kmeans, {1, {-1, 1, 2, 8, 12}, {}}, start, 2, 1);

  EXPECT_NEAR(fitted.best().trace[0], 14, rounding * 14);
  EXPECT_NEAR(fitted.best().trace[1], 25.0 / 9 + 1.0 / 9 + 16.0 / 9 + 8, rounding * 14);
  expect_array(fitted.described, "centers", {2.0 / 3, 10});
}

TEST(EmByHand, WeightsOfRowsCount) {
  const NamedArrays start = {{"centers", {{2, 1}, {0, 10}}}};

  const Fitted fitted = fit_from(make_kmeans, {1, {-1, 1, 2, 8, 12}, {1, 0.5, 2, 3, 0}}, start, 2, 1);

  EXPECT_NEAR(fitted.best().trace[0], 1 + 0.5 + 8 + 12, rounding * 20);
  expect_array(fitted.described, "centers", {3.5 / 3.5, 8});
}

TEST(EmByHand, KMeansTiesGoToTheLowestIndex) {
  // 5 lies halfway between 0 and 10, and centres 1 and 2 coincide.
  const NamedArrays start = {{"centers", {{3, 1}, {0, 10, 10}}}};

  const Fitted fitted = fit_from(make_kmeans, {1, {0, 5, 10}, {}}, start, 3, 1);

  expect_array(fitted.described, "centers", {2.5, 10, 10});
}

TEST(EmByHand, AnEmptyClusterKeepsItsCentre) {
  const NamedArrays start = {{"centers", {{3, 1}, {0, 1000, 10}}}};

  const Fitted fitted = fit_from(make_kmeans, {1, {-1, 1, 9, 12}, {}}, start, 3, 3);

  expect_array(fitted.described, "centers", {0, 1000, 10.5});
}

TEST(EmByHand, AnEmptyPoissonComponentKeepsItsRates) {
  // Where every count is 0 the likelihood of rate 800 underflows to 0: the component has no rows.
  const NamedArrays start = {{"weights", {{2}, {0.5, 0.5}}}, {"rates", {{2, 1}, {1, 800}}}};

  const Fitted fitted = fit_from(make_poisson_mixture, {1, {0, 0, 0, 1}, {}}, start, 2, 1);

  expect_array(fitted.described, "rates", {0.25, 800});
  expect_array(fitted.described, "weights", {1, 0});
}

// Component 1 has two rows, so its covariance has rank one: column 1 is a combination of column 0.
const Table collapsing{2, {0, 0, 1, 0, 0, 1, 100, 100, 102, 101}, {}};

template <Covariance covariance>
std::string failure_of(const Table& table, const NamedArrays& start, Index components) {
  try {
    fit_from(gaussian<covariance>, table, start, components, 5);
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

TEST(EmByHand, ASingularCovarianceNamesComponentAndColumn) {
  const NamedArrays full = {{"means", {{2, 2}, {0.3, 0.3, 101, 100}}},
                            {"covariances", {{2, 2, 2}, {1, 0, 0, 1, 1, 0, 0, 1}}}};
  EXPECT_THAT(failure_of<Covariance::full>(collapsing, full, 2),
              AllOf(HasSubstr("component 1"), HasSubstr("column 1"), HasSubstr("iteration 0")));

  const Table constant{2, {1, 0.1, 2, 0.1, 4, 0.1, 5, 0.1}, {}};
  const NamedArrays diag = {{"covariances", {{1, 2}, {1, 1}}}};
  EXPECT_THAT(failure_of<Covariance::diag>(constant, diag, 1),
              AllOf(HasSubstr("component 0"), HasSubstr("column 1")));

  const NamedArrays tied = {{"covariances", {{2, 2}, {1, 0, 0, 1}}}};
  EXPECT_THAT(failure_of<Covariance::tied>(constant, tied, 1),
              AllOf(HasSubstr("tied covariance"), HasSubstr("column 1")));

  const Table one_point{2, {3, 3, 3, 3, 9, 9, 10, 8}, {}};
  const NamedArrays spherical = {{"means", {{2, 2}, {3, 3, 9.5, 8.5}}}, {"covariances", {{2}, {0.01, 1}}}};
  EXPECT_THAT(failure_of<Covariance::spherical>(one_point, spherical, 2), HasSubstr("component 0"));
}

TEST(EmByHand, AnImpossibleRowIsAnErrorThatSaysSo) {
  const NamedArrays start = {{"rates", {{1, 1}, {0}}}};

  std::string message;
  try {
    fit_from(make_poisson_mixture, {1, {0, 3}, {}}, start, 1, 3);
  } catch (const DataError& error) {
    message = error.what();
  }

  EXPECT_THAT(message, HasSubstr("some row is impossible under the parameters"));
}

TEST(EmByHand, ParametersGivenAreParametersDescribed) {
  const NamedArrays start = {{"weights", weights_of(start_plane)},
                             {"means", means_of(start_plane)},
                             {"covariances", {{2, 2, 2}, both(start_plane.covariance[0], start_plane.covariance[1])}}};

  const Fitted fitted = fit_from(gaussian<Covariance::full>, five_points, start, 2, 0);

  for (const auto& [name, array] : start) expect_array(fitted.described, name, array.values);
}

TEST(EmByHand, WrongStartParametersAreNamed) {
  const auto message_for = [](const NamedArrays& start) -> std::string {
    try {
      fit_from(gaussian<Covariance::full>, five_points, start, 2, 1);
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  };

  EXPECT_THAT(message_for({{"mean", {{2, 2}, {0, 0, 1, 1}}}}), AllOf(HasSubstr("'mean'"), HasSubstr("means")));
  EXPECT_THAT(message_for({{"means", {{2, 3}, {0, 0, 1, 1, 2, 2}}}}), HasSubstr("(2, 2) is needed"));
  EXPECT_THAT(message_for({{"weights", {{2}, {0.5, 0.4}}}}), HasSubstr("sums to"));
  EXPECT_THAT(message_for({{"weights", {{2}, {1.5, -0.5}}}}), HasSubstr("below 0"));
  EXPECT_THAT(message_for({{"covariances", {{2, 2, 2}, {1, 0.5, 0, 1, 1, 0, 0, 1}}}}), HasSubstr("not symmetric"));
  EXPECT_THAT(message_for({{"covariances", {{2, 2, 2}, {1, 0, 0, 1, 1, 2, 2, 1}}}}), HasSubstr("singular"));
}

TEST(EmByHand, LabelsGiveTheFirstParameters) {
  const ModelCase model_case{"", gaussian<Covariance::diag>, Precision::double_precision};
  const std::vector<double> labels = {0, 0, 0, 1, 1};
  NamedArrays described;
  run_in_threads(2, [&](Communicator& communicator) {
    IoExecutor io;
    const MemoryRows rows(five_points.matrix()), given({labels.data(), 5, 1});
    const BlockPlan plan = BlockPlan::uniform(rows.rows(), 64);
    const BlockRange range = blocks_of_rank(plan, communicator.rank(), communicator.size());
    Shard shard(io, Inputs{&rows, nullptr, &given}, plan, ShardRange{range.first, range.last}, {});
    const auto model = model_case.make(2, 2);
    const Scan seen = scan(shard, Domain::real, 5, 0, communicator);
    model->set_standardisation(standardise_for(model->scaling(), seen.summary));
    shard.prepare({model->standardisation(), nullptr}, [] {});

    const auto parameters = fit_given(*model, shard, seen.summary, {}, communicator);

    if (communicator.rank() == 0) described = model->describe(parameters);
  });

  expect_array(described, "weights", {0.6, 0.4});
  expect_array(described, "means", {0.5, 0.5, 4.75, 2.5});
  // Variances of (0, 1, 1/2), (1/2, -1/2, 3/2), (4, 11/2) and (3, 2).
  expect_array(described, "covariances", {1.0 / 6, 2.0 / 3, 0.5625, 0.25});
}

}  // namespace
}  // namespace tally
