#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "algorithms/families/gaussian.hpp"
#include "algorithms/families/gaussian_kernels.hpp"
#include "algorithms/families/poisson.hpp"
#include "algorithms/latent/mixture.hpp"
#include "algorithms/pair_model.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

using Numbers = std::vector<double>;

Numbers defaults_of(const Model& model) {
  Numbers parameters(static_cast<std::size_t>(model.parameters().size()));
  model.set_defaults(parameters);
  return parameters;
}

Numbers field(const Layout& layout, const std::string& name, const Numbers& values) {
  const auto found = layout[name].in(std::span(values));
  return {found.begin(), found.end()};
}

void put(const Layout& layout, const std::string& name, Numbers& values, const Numbers& in) {
  const auto place = layout[name].in(std::span(values));
  ASSERT_EQ(place.size(), in.size());
  std::copy(in.begin(), in.end(), place.begin());
}

PairModel<PoissonFamily, Mixture> poisson(std::set<std::string> frozen) {
  return {"poisson", Mixture(2), PoissonFamily(2, 1), PoissonKernel{{2, 2}}, std::move(frozen)};
}

TEST(Freezing, KeepsNamedParametersThroughEmButNotThroughTheStart) {
  const auto model = poisson({"weights"});
  Numbers statistics(static_cast<std::size_t>(model.statistics().size()));
  put(model.statistics(), "moments", statistics, {6, 12, 2, 10});
  Numbers after = defaults_of(model), start = after;

  model.maximize(statistics, 8, after);
  model.maximize_start(statistics, 8, start);

  EXPECT_EQ(field(model.parameters(), "weights", after), (Numbers{0.5, 0.5}));
  EXPECT_EQ(field(model.parameters(), "rates", after), (Numbers{2, 5}));
  EXPECT_EQ(field(model.parameters(), "weights", start), (Numbers{0.75, 0.25}));
  EXPECT_EQ(model.free_parameters(), 2);
  EXPECT_EQ(model.options().at("freeze"), "weights");
  EXPECT_EQ(poisson({}).options().count("freeze"), 0U);
}

TEST(Freezing, NamesWhatThereIs) {
  try {
    poisson({"means"});
    FAIL() << "frozen means of a model without means";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("weights, rates"), std::string::npos) << error.what();
  }
}

class GaussianFreezing : public testing::TestWithParam<Covariance> {};

TEST_P(GaussianFreezing, CovariancesAreAboutFrozenMeans) {
  constexpr Index D = 2;
  const Covariance covariance = GetParam();
  const GaussianFamily family({covariance, 0}, 1, D);
  const PairModel<GaussianFamily, Mixture> model(
      "gmm", Mixture(1), family, GaussianFullKernel{{1, family.width()}}, {"means"});
  Numbers parameters = defaults_of(model), statistics(static_cast<std::size_t>(model.statistics().size()));
  put(model.parameters(), "means", parameters, {1, -1});
  // Rows (1, 1) and (3, 0): about (1, -1) they are (0, 2) and (2, 1).
  const Numbers sums = {2, 4, 1}, products = {10, 1, 1}, squares = {10, 1};
  Numbers moments = sums;
  if (covariance == Covariance::full) moments.insert(moments.end(), products.begin(), products.end());
  if (covariance == Covariance::diag) moments.insert(moments.end(), squares.begin(), squares.end());
  if (covariance == Covariance::spherical) moments.push_back(11);
  put(model.statistics(), "moments", statistics, moments);
  if (covariance == Covariance::tied) put(model.statistics(), "scatter", statistics, products);

  model.maximize(statistics, 2, parameters);

  const std::map<Covariance, Numbers> expected = {{Covariance::full, {2, 1, 1, 2.5}},
                                                  {Covariance::tied, {2, 1, 1, 2.5}},
                                                  {Covariance::diag, {2, 2.5}},
                                                  {Covariance::spherical, {2.25}}};
  EXPECT_EQ(field(model.parameters(), "means", parameters), (Numbers{1, -1}));
  EXPECT_EQ(field(model.parameters(), "covariances", parameters), expected.at(covariance));
  EXPECT_EQ(model.free_parameters(), family.free_parameters() - D);
}

TEST_P(GaussianFreezing, FrozenCovariancesNeedNotBeEstimable) {
  const GaussianFamily family({GetParam(), 0}, 1, 1);
  const PairModel<GaussianFamily, Mixture> model(
      "gmm", Mixture(1), family, GaussianFullKernel{{1, family.width()}}, {"covariances"});
  Numbers parameters = defaults_of(model), statistics(static_cast<std::size_t>(model.statistics().size()));
  statistics[0] = 1;  // one row, whose value is 2: no variance
  statistics[1] = 2;
  statistics[2] = 4;

  model.maximize(statistics, 1, parameters);

  EXPECT_EQ(field(model.parameters(), "means", parameters), (Numbers{2}));
  EXPECT_EQ(field(model.parameters(), "covariances", parameters), (Numbers{1}));
  EXPECT_EQ(model.free_parameters(), 1);
}

INSTANTIATE_TEST_SUITE_P(Shapes, GaussianFreezing,
                         testing::Values(Covariance::full, Covariance::tied, Covariance::diag, Covariance::spherical),
                         [](const auto& shape) { return to_string(shape.param); });

}  // namespace
}  // namespace tally
