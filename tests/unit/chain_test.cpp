#include "algorithms/latent/chain.hpp"
#include "algorithms/registry.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "algorithms/families/poisson.hpp"
#include "algorithms/kept_zeros.hpp"
#include "algorithms/latent/mixture.hpp"
#include "algorithms/pair_model.hpp"
#include "core/error.hpp"
#include "tests/unit/message_of.hpp"

namespace tally {
namespace {

using PoissonChain = PairModel<PoissonFamily, Chain>;
using Numbers = std::vector<double>;

PoissonChain poisson_chain(const ChainOptions& options, Index states, Index mixtures = 1,
                           std::set<std::string> frozen = {}) {
  ChainOptions chain = options;
  chain.mixtures = mixtures;
  return {"hmm", Chain(chain, states), PoissonFamily(states * mixtures, 1),
          PoissonKernel{{states * mixtures, 2}}, std::move(frozen)};
}

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

// Statistics with these counts and moments, the rest 0.
Numbers statistics_of(const Model& model, const Numbers& starts, const Numbers& transitions,
                      const Numbers& moments = {}) {
  Numbers statistics(static_cast<std::size_t>(model.statistics().size()));
  put(model.statistics(), "starts", statistics, starts);
  put(model.statistics(), "transitions", statistics, transitions);
  if (!moments.empty()) put(model.statistics(), "moments", statistics, moments);
  return statistics;
}

void expect_near(const Numbers& a, const Numbers& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance) << "element " << i;
}

Numbers transmat_after(const PoissonChain& model, const Numbers& starts, const Numbers& transitions) {
  Numbers parameters = defaults_of(model);
  model.maximize(statistics_of(model, starts, transitions), 10, parameters);
  return field(model.parameters(), "transmat", parameters);
}

ChainOptions with_startprob(StartProbabilities startprob) {
  ChainOptions options;
  options.startprob = startprob;
  return options;
}

ChainOptions with_topology(const std::string& topology) {
  ChainOptions options;
  options.topology = topology;
  return options;
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

// The M-step.

TEST(Chain, CountsBecomeProbabilities) {
  const PoissonChain model = poisson_chain({}, 2);
  Numbers parameters = defaults_of(model);

  model.maximize(statistics_of(model, {3, 1}, {6, 2, 1, 3}, {8, 16, 4, 20}), 12, parameters);

  EXPECT_EQ(field(model.parameters(), "startprob", parameters), (Numbers{0.75, 0.25}));
  EXPECT_EQ(field(model.parameters(), "transmat", parameters), (Numbers{0.75, 0.25, 0.25, 0.75}));
  EXPECT_EQ(field(model.parameters(), "rates", parameters), (Numbers{2, 5}));
}

TEST(Chain, AStateWithoutCountsKeepsItsRow) {
  const PoissonChain model = poisson_chain({}, 2);
  Numbers parameters = defaults_of(model);
  put(model.parameters(), "transmat", parameters, {0.5, 0.5, 0.125, 0.875});

  model.maximize(statistics_of(model, {0, 0}, {1, 3, 0, 0}), 4, parameters);

  EXPECT_EQ(field(model.parameters(), "startprob", parameters), (Numbers{0.5, 0.5}));
  EXPECT_EQ(field(model.parameters(), "transmat", parameters), (Numbers{0.25, 0.75, 0.125, 0.875}));
}

TEST(Chain, PriorsCountLikeObservationsAndNeverBelowZero) {
  ChainOptions options;
  options.startprob_prior = {3};
  options.transmat_prior = {2, 1, 0.5, 1};
  const PoissonChain model = poisson_chain(options, 2);
  Numbers parameters = defaults_of(model);

  model.maximize(statistics_of(model, {4, 0}, {6, 1, 0.25, 3}), 11, parameters);

  EXPECT_EQ(field(model.parameters(), "startprob", parameters), (Numbers{0.75, 0.25}));
  EXPECT_EQ(field(model.parameters(), "transmat", parameters), (Numbers{0.875, 0.125, 0, 1}));
}

TEST(Chain, ZerosStayZeroUnderAPrior) {
  ChainOptions options;
  options.startprob_prior = options.transmat_prior = {2};
  const PoissonChain model = poisson_chain(options, 2);
  Numbers parameters = defaults_of(model);
  model.read({{"startprob", {{2}, {1, 0}}}, {"transmat", {{2, 2}, {0, 1, 0.5, 0.5}}}}, parameters);

  model.maximize(statistics_of(model, {2, 0}, {0, 4, 1, 5}), 12, parameters);

  EXPECT_EQ(field(model.parameters(), "startprob", parameters), (Numbers{1, 0}));
  EXPECT_EQ(field(model.parameters(), "transmat", parameters), (Numbers{0, 1, 0.25, 0.75}));
}

TEST(Chain, MixtureWeightsAreSharesOfTheirState) {
  const PoissonChain model = poisson_chain({}, 2, 2);
  Numbers parameters = defaults_of(model);

  model.maximize(statistics_of(model, {1, 0}, {1, 1, 1, 1}, {1, 2, 3, 9, 0, 0, 0, 0}), 4, parameters);

  EXPECT_EQ(model.components(), 2);
  EXPECT_EQ(field(model.parameters(), "mixture_weights", parameters), (Numbers{0.25, 0.75, 0.5, 0.5}));
  EXPECT_EQ(field(model.parameters(), "rates", parameters), (Numbers{2, 3, 1, 1}));
}

TEST(Chain, FixedStartsStay) {
  const PoissonChain model = poisson_chain(with_startprob(StartProbabilities::fixed), 2);
  Numbers parameters = defaults_of(model);

  model.maximize(statistics_of(model, {3, 1}, {1, 1, 1, 1}), 8, parameters);

  EXPECT_EQ(field(model.parameters(), "startprob", parameters), (Numbers{0.5, 0.5}));
}

// Freezing.

TEST(ChainStart, DrawsTransitionsThatArePossible) {
  const PoissonChain free = poisson_chain({}, 2), left_right = poisson_chain(with_topology("left-right"), 2);
  const auto draw = [](Index index) { return 0.25 * static_cast<double>(index); };
  Numbers drawn = defaults_of(free), drawn_left_right = defaults_of(left_right);

  free.vary_start(draw, drawn);
  left_right.vary_start(draw, drawn_left_right);

  expect_near(field(free.parameters(), "transmat", drawn), {0.4, 0.6, 4.0 / 9, 5.0 / 9}, 1e-15);
  expect_near(field(free.parameters(), "startprob", drawn), {0.5, 0.5}, 0);
  expect_near(field(left_right.parameters(), "transmat", drawn_left_right), {0.4, 0.6, 0, 1}, 1e-15);
}

TEST(ChainStart, AStationaryStartFollowsWhatIsDrawn) {
  const PoissonChain model = poisson_chain(with_startprob(StartProbabilities::stationary), 2);
  Numbers parameters = defaults_of(model);

  model.vary_start([](Index index) { return 0.25 * static_cast<double>(index); }, parameters);

  expect_near(field(model.parameters(), "startprob", parameters), {20.0 / 47, 27.0 / 47}, 1e-14);
}

TEST(ChainStart, FrozenTransitionsAreNotDrawn) {
  const PoissonChain model = poisson_chain({}, 2, 1, {"transmat"});
  Numbers parameters = defaults_of(model);

  model.vary_start([](Index) { return 0.9; }, parameters);

  EXPECT_EQ(parameters, defaults_of(model));
}

TEST(ChainFreezing, KeepsNamedParametersThroughEmButNotThroughTheStart) {
  const PoissonChain model = poisson_chain({}, 2, 1, {"transmat", "rates"});
  const Numbers before = defaults_of(model), statistics = statistics_of(model, {3, 1}, {6, 2, 1, 3}, {8, 16, 4, 20});
  Numbers after = before, start = before;

  model.maximize(statistics, 12, after);
  model.maximize_start(statistics, 12, start);

  EXPECT_EQ(field(model.parameters(), "startprob", after), (Numbers{0.75, 0.25}));
  EXPECT_EQ(field(model.parameters(), "transmat", after), field(model.parameters(), "transmat", before));
  EXPECT_EQ(field(model.parameters(), "rates", after), field(model.parameters(), "rates", before));
  EXPECT_EQ(field(model.parameters(), "transmat", start), (Numbers{0.75, 0.25, 0.25, 0.75}));
  EXPECT_EQ(field(model.parameters(), "rates", start), (Numbers{2, 5}));
  EXPECT_EQ(model.free_parameters(), 1);
  EXPECT_EQ(model.options().at("freeze"), "rates,transmat");
}

TEST(ChainFreezing, RefusesWhatContradicts) {
  const auto make = [](std::set<std::string> names) {
    return [names] { poisson_chain(with_startprob(StartProbabilities::stationary), 2, 1, names); };
  };

  expect_contains(message_of<UsageError>(make({"means"})), "startprob, transmat, rates");
  expect_contains(message_of<UsageError>(make({"startprob"})), "follows transmat");
  EXPECT_NO_THROW(make({"startprob", "transmat"})());
}

// Work.

// What a row of a cut sequence costs, where one of a whole sequence costs 1.
double cost_of_cutting(Index states, Index feature_width, Index mixtures = 1) {
  ChainOptions options;
  options.mixtures = mixtures;
  const SequenceCut cut = Chain(options, states).sequence_cut(1, feature_width);
  return static_cast<double>(cut.cut_work) / static_cast<double>(cut.whole_work);
}

// Measured: see the table of docs/performance.md.
TEST(SequenceCut, CostsWhatIsDoneTwice) {
  constexpr double near = 0.15;

  EXPECT_NEAR(cost_of_cutting(4, 561), 1.50, near);
  EXPECT_NEAR(cost_of_cutting(16, 561), 1.54, near);
  EXPECT_NEAR(cost_of_cutting(8, 45), 1.70, near);
  EXPECT_NEAR(cost_of_cutting(4, 2), 1.67, near);
  EXPECT_NEAR(cost_of_cutting(16, 17), 2.3, near);
  EXPECT_NEAR(cost_of_cutting(17, 2), 2.0, near);
  EXPECT_NEAR(cost_of_cutting(32, 561), 1.98, near);
  EXPECT_NEAR(cost_of_cutting(48, 17), 1.80, near) << "ragged sequences";
  EXPECT_NEAR(cost_of_cutting(64, 2), 1.93, near) << "ragged sequences";
  EXPECT_NEAR(cost_of_cutting(66, 3), 1.9, near);
  EXPECT_NEAR(cost_of_cutting(128, 3), 2.7, near) << "ragged sequences";
  EXPECT_LT(cost_of_cutting(16, 17, 8), cost_of_cutting(16, 17)) << "mixtures make emissions dearer, composing not";
}

// Topologies.

TEST(Topology, AllowsWhatItSays) {
  const auto transmat = [](const std::string& topology) {
    const PoissonChain model = poisson_chain(with_topology(topology), 3);
    return field(model.parameters(), "transmat", defaults_of(model));
  };
  constexpr double third = 1.0 / 3;

  EXPECT_EQ(transmat("ergodic"), Numbers(9, third));
  EXPECT_EQ(transmat("left-right"), (Numbers{third, third, third, 0, 0.5, 0.5, 0, 0, 1}));
  EXPECT_EQ(transmat("banded:1"), (Numbers{0.5, 0.5, 0, third, third, third, 0, 0.5, 0.5}));
  EXPECT_EQ(transmat("banded:0"), (Numbers{1, 0, 0, 0, 1, 0, 0, 0, 1}));
  EXPECT_EQ(transmat("mask:010,001,100"), (Numbers{0, 1, 0, 0, 0, 1, 1, 0, 0}));
}

TEST(Topology, LeftRightBeginsInTheFirstState) {
  const PoissonChain model = poisson_chain(with_topology("left-right"), 3);
  Numbers parameters = defaults_of(model);

  EXPECT_EQ(field(model.parameters(), "startprob", parameters), (Numbers{1, 0, 0}));
  EXPECT_EQ(model.free_parameters(), 3 + 3);
  EXPECT_THROW(model.read({{"startprob", {{3}, {0, 1, 0}}}}, parameters), DataError);
}

TEST(Topology, ForbiddenTransitionsStayAtZeroUnderPriors) {
  ChainOptions options = with_topology("banded:1");
  options.transmat_prior = {5};
  const PoissonChain model = poisson_chain(options, 3);

  const Numbers transmat = transmat_after(model, {1, 0, 0}, {4, 0, 0, 0, 4, 0, 0, 0, 4});

  EXPECT_EQ(transmat, (Numbers{2. / 3, 1. / 3, 0, 0.25, 0.5, 0.25, 0, 1. / 3, 2. / 3}));
  EXPECT_EQ(model.free_parameters(), 2 + 1 + 2 + 1 + 3);
}

TEST(KeptZeros, AreNotFree) {
  const auto free_parameters = [](ChainOptions options, std::set<std::string> frozen, bool zeros) {
    const PoissonChain model = poisson_chain(options, 3, 1, std::move(frozen));
    Numbers start = defaults_of(model);
    if (zeros)
      model.read({{"startprob", {{3}, {1, 0, 0}}}, {"transmat", {{3, 3}, {0.5, 0.5, 0, 0, 0.5, 0.5, 0, 0, 1}}}}, start);
    return free_parameters_from(model, start);
  };

  EXPECT_EQ(free_parameters({}, {}, false), 2 + 6 + 3);
  EXPECT_EQ(free_parameters({}, {}, true), 0 + 2 + 3);
  EXPECT_EQ(free_parameters(with_topology("left-right"), {}, true), 0 + 2 + 3);
  EXPECT_EQ(free_parameters(with_topology("banded:1"), {}, true), 0 + 2 + 3);
  EXPECT_EQ(free_parameters(with_startprob(StartProbabilities::fixed), {}, true), 2 + 3);
  EXPECT_EQ(free_parameters({}, {"transmat"}, true), 3);
  EXPECT_EQ(free_parameters({}, {"startprob"}, true), 2 + 3);
}

TEST(Topology, RefusesWhatItForbids) {
  const PoissonChain model = poisson_chain(with_topology("left-right"), 2);
  Numbers parameters = defaults_of(model);
  const NamedArrays back = {{"transmat", {{2, 2}, {0.5, 0.5, 0.5, 0.5}}}};

  expect_contains(message_of<DataError>([&] { model.read(back, parameters); }), "from state 1 to 0");
}

TEST(Topology, AMaskBecomesAWordAndBack) {
  const std::string word = topology_of({{2, 2}, {1, 0, 1, 1}});

  EXPECT_EQ(word, "mask:10,11");
  EXPECT_EQ(Chain(with_topology(word), 2).options().at("topology"), word);
  EXPECT_THROW(topology_of({{2, 2}, {1, 0, 0.5, 1}}), DataError);
  EXPECT_THROW(topology_of({{4}, {1, 0, 1, 1}}), DataError);
}

TEST(Topology, SaysWhatItCannotBe) {
  const auto refusal = [](const std::string& topology) {
    return message_of<UsageError>([&] { Chain(with_topology(topology), 2); });
  };

  expect_contains(refusal("ring"), "left-right");
  expect_contains(refusal("banded:x"), "whole number");
  expect_contains(refusal("banded:-1"), "whole number");
  expect_contains(refusal("mask:10,11,11"), "2 rows");
  expect_contains(refusal("mask:10,1x"), "2 rows");
  expect_contains(refusal("mask:00,11"), "no way out of state 0");
}

// Options and files.

TEST(Chain, TooManyStatesAreRefused) {
  expect_contains(message_of<UsageError>([] { Chain(with_topology("ergodic"), 32768); }), "at most 32767 states");
}

TEST(Chain, OptionsMakeTheSameChain) {
  ChainOptions options = with_topology("mask:110,011,101");
  options.mixtures = 2;
  options.startprob_prior = {1.5, 1, 0.1};
  options.transmat_prior = {2};
  const auto words = Chain(options, 3).options();

  ChainOptions again;
  again.mixtures = std::stoi(words.at("mixtures"));
  again.startprob = parse_startprob(words.at("startprob"));
  again.topology = words.at("topology");
  again.startprob_prior = parse_numbers("startprob-prior", words.at("startprob_prior"));
  again.transmat_prior = parse_numbers("transmat-prior", words.at("transmat_prior"));

  EXPECT_EQ(Chain(again, 3).options(), words);
  EXPECT_EQ(again.startprob_prior, options.startprob_prior);
  EXPECT_THROW(parse_numbers("startprob-prior", "1,,2"), UsageError);
  EXPECT_THROW(parse_startprob("uniform"), UsageError);
}

TEST(Chain, WrongConcentrationsAreRefused) {
  const auto refuse = [](Numbers startprob, Numbers transmat, StartProbabilities start = StartProbabilities::free) {
    ChainOptions options = with_startprob(start);
    options.startprob_prior = std::move(startprob);
    options.transmat_prior = std::move(transmat);
    return message_of<UsageError>([&] { Chain(options, 2); });
  };

  expect_contains(refuse({1, 1, 1}, {1}), "--startprob-prior");
  expect_contains(refuse({1}, {1, 1}), "--transmat-prior");
  expect_contains(refuse({0}, {1}), "above 0");
  expect_contains(refuse({2}, {1}, StartProbabilities::fixed), "--startprob free");
}

TEST(Chain, WrongParametersAreNamed) {
  const PoissonChain model = poisson_chain({}, 2, 2);
  Numbers parameters = defaults_of(model);
  const auto refusal = [&](const std::string& name, const Array& array) {
    return message_of<DataError>([&] { model.read({{name, array}}, parameters); });
  };

  expect_contains(refusal("startprob", {{2}, {0.5, 0.6}}), "'startprob' sums to 1.1");
  expect_contains(refusal("startprob", {{2}, {1.5, -0.5}}), "below 0");
  expect_contains(refusal("transmat", {{2, 2}, {1, 0, 0.5, 0.4}}), "row 1 of start parameter 'transmat'");
  expect_contains(refusal("transmat", {{2, 2}, {1, 0, 0.5, std::nan("")}}), "row 1");
  expect_contains(refusal("transmat", {{4}, {1, 0, 1, 0}}), "(2, 2) is needed");
  expect_contains(refusal("mixture_weights", {{2, 2}, {1, 0, 0, 0}}), "row 1");
  expect_contains(refusal("weights", {{2}, {1, 0}}), "startprob, transmat, mixture_weights, rates");
}

TEST(Chain, DescribesWhatItReads) {
  const PoissonChain model = poisson_chain({}, 2, 2);
  Numbers parameters = defaults_of(model);
  const NamedArrays arrays = {{"startprob", {{2}, {0.3, 0.7}}},
                              {"transmat", {{2, 2}, {0.1, 0.9, 1, 0}}},
                              {"mixture_weights", {{2, 2}, {0.2, 0.8, 0.6, 0.4}}},
                              {"rates", {{4, 1}, {1, 2, 3, 4}}}};

  model.read(arrays, parameters);

  for (const auto& [name, array] : model.describe(parameters)) EXPECT_EQ(array.values, arrays.at(name).values) << name;
}

TEST(Chain, CoefficientsLieBehindTheFamilys) {
  ChainOptions options;
  options.mixtures = 2;
  const Chain chain(options, 2);
  Layout layout;
  chain.add_parameters(layout);
  Numbers parameters(static_cast<std::size_t>(layout.size())), constants = {1, 9, 2, 9, 3, 9, 4, 9};
  put(layout, "startprob", parameters, {0.25, 0.75});
  put(layout, "transmat", parameters, {0.1, 0.9, 0.4, 0.6});
  put(layout, "mixture_weights", parameters, {1, 0, 0.5, 0.5});
  Numbers own(static_cast<std::size_t>(chain.coefficient_count()));

  chain.add_to_coefficients(layout, parameters, 2, constants, own);

  EXPECT_EQ(own, (Numbers{0.25, 0.75, 0.1, 0.9, 0.4, 0.6, 0.1, 0.4, 0.9, 0.6}));
  EXPECT_EQ(constants[0], 1);
  EXPECT_EQ(constants[2], -std::numeric_limits<double>::infinity());
  EXPECT_EQ(constants[4], 3 + std::log(0.5));
  EXPECT_EQ(constants[1], 9);
}

// Stationary starts.

TEST(StationaryStart, FollowsTheTransitions) {
  const PoissonChain model = poisson_chain(with_startprob(StartProbabilities::stationary), 2);
  Numbers parameters = defaults_of(model);
  const Numbers at_first = field(model.parameters(), "startprob", parameters);

  model.read({{"startprob", {{2}, {0, 1}}}, {"transmat", {{2, 2}, {0.9, 0.1, 0.3, 0.7}}}}, parameters);

  EXPECT_EQ(at_first, (Numbers{0.5, 0.5}));
  expect_near(field(model.parameters(), "startprob", parameters), {0.75, 0.25}, 1e-15);
  EXPECT_EQ(model.free_parameters(), 2 + 2);
}

TEST(StationaryStart, NeedsAChainThatHasOne) {
  EXPECT_THROW(Chain({StartProbabilities::stationary, "banded:0", {1}, {1}}, 2), DataError);
  EXPECT_THROW(Chain({StartProbabilities::stationary, "left-right", {1}, {1}}, 2), UsageError);
}

// Annual numbers of major earthquakes, 1900 to 2006 (Zucchini, MacDonald and Langrock, 2016, table 1.1), by EM with
// plain scaled recursions; their table 3.1 and section 3.2 give the stationary fits.
const Numbers earthquakes = {13, 14, 8,  10, 16, 26, 32, 27, 18, 32, 36, 24, 22, 23, 22, 18, 25, 21, 21, 14, 8,  11,
                             14, 23, 18, 17, 19, 20, 22, 19, 13, 26, 13, 14, 22, 24, 21, 22, 26, 21, 23, 24, 27, 41,
                             31, 27, 35, 26, 28, 36, 39, 21, 17, 22, 17, 19, 15, 34, 10, 15, 22, 18, 15, 20, 15, 22,
                             19, 16, 30, 27, 29, 23, 20, 16, 21, 21, 25, 16, 18, 15, 18, 14, 10, 15, 8,  15, 6,  11,
                             8,  7,  18, 16, 13, 12, 13, 20, 15, 16, 12, 18, 15, 16, 13, 15, 16, 11, 11};

// Writes the statistics of the earthquakes and returns their log-likelihood.
double expect_earthquakes(const PoissonChain& model, const Numbers& parameters, Numbers& statistics) {
  const auto K = static_cast<std::size_t>(model.components());
  const std::size_t T = earthquakes.size();
  const Numbers start = field(model.parameters(), "startprob", parameters),
                A = field(model.parameters(), "transmat", parameters),
                rates = field(model.parameters(), "rates", parameters);
  std::vector<Numbers> b(T, Numbers(K)), alpha(T, Numbers(K)), beta(T, Numbers(K, 1));
  Numbers scales(T), starts(K), transitions(K * K), moments(2 * K);
  double total = 0;
  for (std::size_t t = 0; t < T; ++t) {
    for (std::size_t j = 0; j < K; ++j) {
      b[t][j] = std::exp(earthquakes[t] * std::log(rates[j]) - rates[j] - std::lgamma(earthquakes[t] + 1));
      double before = t == 0 ? start[j] : 0;
      for (std::size_t i = 0; i < K && t > 0; ++i) before += alpha[t - 1][i] * A[i * K + j];
      scales[t] += alpha[t][j] = before * b[t][j];
    }
    for (double& value : alpha[t]) value /= scales[t];
    total += std::log(scales[t]);
  }
  for (std::size_t t = T - 1; t > 0; --t)
    for (std::size_t i = 0; i < K; ++i) {
      beta[t - 1][i] = 0;
      for (std::size_t j = 0; j < K; ++j) {
        const double ahead = A[i * K + j] * b[t][j] * beta[t][j] / scales[t];
        beta[t - 1][i] += ahead;
        transitions[i * K + j] += alpha[t - 1][i] * ahead;
      }
    }
  for (std::size_t t = 0; t < T; ++t)
    for (std::size_t k = 0; k < K; ++k) {
      const double posterior = alpha[t][k] * beta[t][k];
      if (t == 0) starts[k] = posterior;
      moments[2 * k] += posterior;
      moments[2 * k + 1] += posterior * earthquakes[t];
    }
  statistics = statistics_of(model, starts, transitions, moments);
  return total;
}

struct StationaryFit {
  double objective;
  Numbers rates, transmat, start;
};

StationaryFit fit_earthquakes(const Numbers& rates, double staying) {
  const auto K = static_cast<Index>(rates.size());
  const PoissonChain model = poisson_chain(with_startprob(StartProbabilities::stationary), K);
  Numbers parameters = defaults_of(model), statistics, transmat(static_cast<std::size_t>(K * K));
  for (Index i = 0; i < K * K; ++i)
    transmat[static_cast<std::size_t>(i)] = i / K == i % K ? staying : (1 - staying) / static_cast<double>(K - 1);
  model.read({{"rates", {{K, 1}, rates}}, {"transmat", {{K, K}, transmat}}}, parameters);
  double objective = expect_earthquakes(model, parameters, statistics);
  for (int iteration = 0; iteration < 3000; ++iteration) {
    model.maximize(statistics, static_cast<double>(earthquakes.size()), parameters);
    const double next = expect_earthquakes(model, parameters, statistics);
    EXPECT_GE(next, objective - 1e-10) << "iteration " << iteration;
    if (next - objective < 1e-13 * std::abs(next) && iteration > 100) break;
    objective = next;
  }
  return {objective, field(model.parameters(), "rates", parameters), field(model.parameters(), "transmat", parameters),
          field(model.parameters(), "startprob", parameters)};
}

TEST(StationaryStart, GivesThePublishedTwoStateFit) {
  const StationaryFit fit = fit_earthquakes({10, 30}, 0.9);

  EXPECT_NEAR(-fit.objective, 342.3183, 5e-5);
  expect_near(fit.rates, {15.472, 26.125}, 5e-4);
  EXPECT_NEAR(-fit.objective, 342.3182667880591, 1e-6);  // a direct maximisation: tests/data/cases
  expect_near(fit.transmat, {0.934040650899, 0.065959349101, 0.128509138772, 0.871490861228}, 1e-5);
  expect_near(fit.start, {0.660822430297, 0.339177569703}, 1e-5);
}

TEST(StationaryStart, GivesThePublishedThreeStateFit) {
  const StationaryFit fit = fit_earthquakes({10, 20, 30}, 0.8);

  EXPECT_NEAR(-fit.objective, 329.4603, 5e-5);
  expect_near(fit.rates, {13.146, 19.721, 29.714}, 1e-3);
  expect_near(fit.transmat, {0.955, 0.024, 0.021, 0.050, 0.899, 0.051, 0, 0.197, 0.803}, 6e-4);
}

// Drawing.

TEST(ChainSampler, DrawsItsProbabilities) {
  const PoissonChain model = poisson_chain({}, 3, 2);
  Numbers parameters = defaults_of(model);
  const Numbers transmat = {0.7, 0.2, 0.1, 0.3, 0, 0.7, 0.25, 0.25, 0.5};
  model.read({{"startprob", {{3}, {0, 0.25, 0.75}}},
              {"transmat", {{3, 3}, transmat}},
              {"mixture_weights", {{3, 2}, {1, 0, 0, 1, 0.5, 0.5}}},
              {"rates", {{6, 1}, {0, 9, 9, 0, 0, 1000}}}},
             parameters);
  const auto sampler = model.sequence_sampler(parameters);
  const RandomKey key{11, 3};
  constexpr Index rows = 100000, sequences = 20000;
  std::vector<Index> states(rows);

  sampler->draw_states(key, 0, std::nullopt, states);
  Numbers counts(9), values(3), starts(3);
  for (Index t = 0; t < rows; ++t) {
    const Index state = states[static_cast<std::size_t>(t)];
    if (t > 0) counts[static_cast<std::size_t>(states[static_cast<std::size_t>(t - 1)] * 3 + state)] += 1;
    double value = 0;
    sampler->draw_values(key, t, state, &value);
    values[static_cast<std::size_t>(state)] += value > 0;
  }
  for (Index s = 0; s < sequences; ++s) {
    Index first = 0;
    sampler->draw_states(key, 7 * s, std::nullopt, {&first, 1});
    starts[static_cast<std::size_t>(first)] += 1;
  }

  for (std::size_t i = 0; i < 3; ++i) {
    const double visits = counts[3 * i] + counts[3 * i + 1] + counts[3 * i + 2];
    // Five standard deviations of a share of at least 25000 visits.
    for (std::size_t j = 0; j < 3; ++j) EXPECT_NEAR(counts[3 * i + j] / visits, transmat[3 * i + j], 0.016);
  }
  EXPECT_EQ(counts[4], 0);
  EXPECT_EQ(starts[0], 0);
  EXPECT_NEAR(starts[1] / sequences, 0.25, 0.016);
  EXPECT_EQ(values[0] + values[1], 0);  // of the components that are drawn there
  EXPECT_NEAR(values[2] / static_cast<double>(std::count(states.begin(), states.end(), 2)), 0.5, 0.016);
}

TEST(ChainSampler, PartsOfASequenceAreItsOwn) {
  const PoissonChain model = poisson_chain({}, 3);
  const Numbers parameters = defaults_of(model);
  const auto sampler = model.sequence_sampler(parameters);
  const RandomKey key{5, 3};
  std::vector<Index> whole(100), part(60);

  sampler->draw_states(key, 1000, std::nullopt, whole);
  sampler->draw_states(key, 1040, whole[39], part);

  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 40));
}

TEST(ChainSampler, ARowAloneIsAFirstStep) {
  const PoissonChain model = poisson_chain({}, 2, 2);
  Numbers parameters = defaults_of(model);
  model.read({{"startprob", {{2}, {0, 1}}},
              {"mixture_weights", {{2, 2}, {1, 0, 0, 1}}},
              {"rates", {{4, 1}, {0, 0, 0, 50}}}},
             parameters);
  double value = 0;

  const Index state = model.sampler(parameters)({1, 3}, 17, &value);

  EXPECT_EQ(state, 1);
  EXPECT_GT(value, 0);
}

TEST(ChainSampler, MixturesHaveNoSequences) {
  const PairModel<PoissonFamily, Mixture> model("poisson", Mixture(2), PoissonFamily(2, 1), PoissonKernel{{2, 2}});

  EXPECT_EQ(model.sequence_sampler(defaults_of(model)), nullptr);
}

TEST(Forecast, TakesOneStepAfterAnother) {
  const Numbers transitions = {0.5, 0.5, 0.25, 0.75}, now = {1, 0};
  Numbers ahead(4 * 2);

  forecast_states(MatrixView<const double>(transitions.data(), 2, 2), now, MatrixView<double>(ahead.data(), 4, 2));

  EXPECT_EQ(Numbers(ahead.begin(), ahead.begin() + 4), (Numbers{0.5, 0.5, 0.375, 0.625}));
  EXPECT_EQ(ahead[4], 0.34375);
  for (std::size_t h = 0; h < 4; ++h) EXPECT_EQ(ahead[2 * h] + ahead[2 * h + 1], 1);
}

}  // namespace
}  // namespace tally
