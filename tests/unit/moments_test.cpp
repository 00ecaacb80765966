#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/registry.hpp"
#include "core/philox.hpp"
#include "core/standardisation.hpp"

namespace tally {
namespace {

using ::testing::DoubleEq;
using ::testing::Pointwise;

struct Made {
  std::unique_ptr<Model> model;
  std::vector<double> parameters;
};

// A model of two columns with these parameters, on a scale of its own where it has one.
Made make(const std::string& name, const OptionValues& options, const NamedArrays& arrays) {
  Registry registry;
  add_builtin_models(registry);
  Made made{registry.find(name).make(2, 2, options), {}};
  Standardisation standardisation = Standardisation::none(2);
  if (made.model->scaling() != Scaling::none) standardisation = {{3, -5}, {2, 2}};
  if (made.model->scaling() == Scaling::from_zero) standardisation.centre = {0, 0};
  made.model->set_standardisation(standardisation);
  made.parameters.resize(static_cast<std::size_t>(made.model->parameters().size()));
  made.model->set_defaults(made.parameters);
  made.model->read(arrays, made.parameters);
  return made;
}

const Array two_means{{2, 2}, {1, 20, -3, 4}};

std::vector<Made> all_models() {
  std::vector<Made> models;
  models.push_back(make("gmm", {{"covariance", "full"}},
                        {{"means", two_means}, {"covariances", {{2, 2, 2}, {4, 1, 1, 9, 2, 0, 0, 0.5}}}}));
  models.push_back(make("gmm", {{"covariance", "tied"}}, {{"means", two_means}, {"covariances", {{2, 2}, {4, 1, 1, 9}}}}));
  models.push_back(
      make("gmm", {{"covariance", "diag"}}, {{"means", two_means}, {"covariances", {{2, 2}, {4, 9, 2, 0.5}}}}));
  models.push_back(make("gmm", {{"covariance", "spherical"}}, {{"means", two_means}, {"covariances", {{2}, {4, 0.5}}}}));
  models.push_back(make("kmeans", {}, {{"centers", two_means}}));
  models.push_back(make("poisson", {}, {{"rates", {{2, 2}, {1, 20, 0, 4}}}}));
  models.push_back(make("bernoulli", {}, {{"probabilities", {{2, 2}, {0, 1, 0.3, 0.8}}}}));
  models.push_back(make("categorical", {{"symbols", "3"}},
                        {{"probabilities", {{2, 2, 3}, {0.2, 0.5, 0.3, 0, 0.9, 0.1, 0, 0, 1, 0.6, 0.4, 0}}}}));
  models.push_back(make("exponential", {}, {{"rates", {{2, 2}, {1, 20, 0.01, 4}}}}));
  models.push_back(make("gamma", {}, {{"shapes", {{2, 2}, {0.5, 3, 40, 1}}}, {"scales", {{2, 2}, {2, 0.5, 1, 8}}}}));
  // Both ways of drawing, and their mirror images.
  for (const char* trials : {"9", "1000"})
    models.push_back(make("binomial", {{"trials", trials}}, {{"probabilities", {{2, 2}, {0, 1, 0.3, 0.8}}}}));
  models.push_back(make("multinomial", {{"trials", "30"}}, {{"probabilities", {{2, 2}, {0.2, 0.8, 1, 0}}}}));
  for (const char* covariance : {"diag", "spherical"})
    models.push_back(make("student-t", {{"covariance", covariance}},
                          {{"means", two_means},
                           {"scales", covariance == std::string("diag") ? Array{{2, 2}, {4, 9, 2, 0.5}} : Array{{2}, {4, 0.5}}},
                           {"degrees_of_freedom", {{2}, {7, 20}}}}));
  for (const double concentration : {0.0, 1.5, 1e4})
    models.push_back(make("von-mises-fisher", {},
                          {{"mean_directions", {{2, 2}, {0.6, 0.8, 0, 1}}}, {"concentrations", {{2}, {2, concentration}}}}));
  return models;
}

TEST(Moments, AreInTheUsersUnits) {
  const auto models = all_models();
  const std::vector<std::vector<double>> variances = {{4, 9, 2, 0.5}, {4, 9, 4, 9}, {4, 9, 2, 0.5}, {4, 4, 0.5, 0.5},
                                                      {0, 0, 0, 0}};

  for (std::size_t i = 0; i < variances.size(); ++i) {
    const Moments moments = models[i].model->moments(models[i].parameters);
    EXPECT_EQ(moments.width, 2);
    EXPECT_THAT(moments.mean, Pointwise(DoubleEq(), two_means.values)) << i;
    EXPECT_THAT(moments.variance, Pointwise(DoubleEq(), variances[i])) << i;
  }
}

// What a row of symbols indicates: for each column and symbol, 1 where it is that one.
std::vector<double> indicated(const std::vector<double>& row, Index width) {
  const auto symbols = static_cast<std::size_t>(width) / row.size();
  if (symbols == 1) return row;
  std::vector<double> indicators(static_cast<std::size_t>(width));
  for (std::size_t d = 0; d < row.size(); ++d) indicators[d * symbols + static_cast<std::size_t>(row[d])] = 1;
  return indicators;
}

TEST(Moments, AreThoseOfDraws) {
  constexpr int draws = 20000;
  for (const Made& made : all_models()) {
    const Moments moments = made.model->moments(made.parameters);
    const Sampler sampler = made.model->sampler(made.parameters);
    const auto width = static_cast<std::size_t>(moments.width);
    ASSERT_EQ(moments.mean.size(), 2 * width);
    ASSERT_EQ(moments.variance.size(), 2 * width);
    std::vector<double> count(2), sum(2 * width), squares(2 * width), row(2);

    for (Index i = 0; i < draws; ++i) {
      const auto k = static_cast<std::size_t>(sampler({7, 3}, i, row.data()));
      const std::vector<double> values = indicated(row, moments.width);
      ++count[k];
      for (std::size_t j = 0; j < width; ++j) {
        const double difference = values[j] - moments.mean[k * width + j];
        sum[k * width + j] += difference;
        squares[k * width + j] += difference * difference;
      }
    }

    for (std::size_t j = 0; j < 2 * width; ++j) {
      const double n = count[j / width], variance = moments.variance[j];
      constexpr double deviations = 5;  // of a mean; a variance of at most kurtosis 4 has twice the relative spread
      EXPECT_LE(std::abs(sum[j] / n), deviations * std::sqrt(variance / n)) << made.model->name() << " " << j;
      EXPECT_NEAR(squares[j] / n, variance, deviations * 2 * std::max(variance, std::sqrt(variance)) / std::sqrt(n))
          << made.model->name() << " " << j;
    }
  }
}

}  // namespace
}  // namespace tally
