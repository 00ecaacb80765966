#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "algorithms/families/shared_covariances.hpp"
#include "core/blas.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

using Numbers = std::vector<double>;

constexpr Index K = 3, D = 4;

Numbers product(const Numbers& a, const Numbers& b) {
  Numbers c(static_cast<std::size_t>(D * D));
  for (Index i = 0; i < D; ++i)
    for (Index j = 0; j < D; ++j)
      for (Index l = 0; l < D; ++l)
        c[static_cast<std::size_t>(i * D + j)] +=
            a[static_cast<std::size_t>(i * D + l)] * b[static_cast<std::size_t>(l * D + j)];
  return c;
}

Numbers transposed(const Numbers& a) {
  Numbers c(a.size());
  for (Index i = 0; i < D; ++i)
    for (Index j = 0; j < D; ++j) c[static_cast<std::size_t>(i * D + j)] = a[static_cast<std::size_t>(j * D + i)];
  return c;
}

// Rotation by an angle in the plane of two axes.
Numbers rotation(Index a, Index b, double angle) {
  Numbers R(static_cast<std::size_t>(D * D));
  for (Index d = 0; d < D; ++d) R[static_cast<std::size_t>(d * D + d)] = 1;
  R[static_cast<std::size_t>(a * D + a)] = R[static_cast<std::size_t>(b * D + b)] = std::cos(angle);
  R[static_cast<std::size_t>(a * D + b)] = std::sin(angle);
  R[static_cast<std::size_t>(b * D + a)] = -std::sin(angle);
  return R;
}

// Eigenvalues, smallest first, and eigenvectors, a row each.
struct Eigen {
  Numbers values, vectors;
  explicit Eigen(const Numbers& matrix) : values(static_cast<std::size_t>(D)), vectors(matrix) {
    EXPECT_TRUE(blas::symmetric_eigen({vectors.data(), D, D}, values));
  }
  Numbers matrix() const {
    Numbers scaled = vectors;
    for (Index i = 0; i < D; ++i)
      for (Index j = 0; j < D; ++j)
        scaled[static_cast<std::size_t>(i * D + j)] *= values[static_cast<std::size_t>(i)];
    return product(transposed(vectors), scaled);
  }
  double volume() const {
    double sum = 0;
    for (const double value : values) sum += std::log(value);
    return std::exp(sum / static_cast<double>(D));
  }
};

// One matrix a component, whatever the form.
std::vector<Numbers> matrices(Covariance model, const Numbers& covariances) {
  std::vector<Numbers> result(static_cast<std::size_t>(K), Numbers(static_cast<std::size_t>(D * D)));
  for (Index k = 0; k < K; ++k)
    for (Index i = 0; i < D; ++i)
      for (Index j = 0; j < D; ++j) {
        double& entry = result[static_cast<std::size_t>(k)][static_cast<std::size_t>(i * D + j)];
        if (form_of(model) == CovarianceForm::full)
          entry = covariances[static_cast<std::size_t>((k * D + i) * D + j)];
        else if (i == j)
          entry = covariances[static_cast<std::size_t>(form_of(model) == CovarianceForm::diag ? k * D + i : k)];
      }
  return result;
}

struct Problem {
  Numbers counts = {30, 50, 20};
  std::vector<Numbers> own;  // (K) of (D, D)

  explicit Problem(unsigned seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    for (Index k = 0; k < K; ++k) {
      Numbers root(static_cast<std::size_t>(D * D));
      for (double& value : root) value = normal(random);
      for (Index d = 0; d < D; ++d) root[static_cast<std::size_t>(d * D + d)] += static_cast<double>(1 + d + k);
      own.push_back(product(root, transposed(root)));
    }
  }

  // In the model's form.
  Numbers in_form(Covariance model) const {
    Numbers result;
    for (const Numbers& matrix : own) {
      double trace = 0;
      for (Index d = 0; d < D; ++d) trace += matrix[static_cast<std::size_t>(d * D + d)];
      if (form_of(model) == CovarianceForm::full) result.insert(result.end(), matrix.begin(), matrix.end());
      if (form_of(model) == CovarianceForm::diag)
        for (Index d = 0; d < D; ++d) result.push_back(matrix[static_cast<std::size_t>(d * D + d)]);
      if (form_of(model) == CovarianceForm::spherical) result.push_back(trace / static_cast<double>(D));
    }
    return result;
  }
  Numbers round(Covariance model) const {
    Numbers result = in_form(model);
    for (std::size_t i = 0; i < result.size(); ++i) {
      const auto within = static_cast<Index>(i) % (D * D);
      result[i] = form_of(model) != CovarianceForm::full || within / D == within % D ? 1.0 : 0.0;
    }
    return result;
  }
  Numbers shared(Covariance model, const Numbers& previous) const {
    Numbers result = in_form(model);
    const Numbers seconds(static_cast<std::size_t>(K * D), 1.0);
    share_covariances(model, {counts, seconds, previous, D}, result);
    return result;
  }

  // sum_k n_k (log det Sigma_k + tr(Sigma_k^-1 S_k)): -2 times the log-likelihood but for constants.
  double deviance(const std::vector<Numbers>& covariances) const {
    double sum = 0;
    for (std::size_t k = 0; k < own.size(); ++k) {
      const Eigen eigen(covariances[k]);
      const Numbers along = product(product(eigen.vectors, own[k]), transposed(eigen.vectors));
      for (std::size_t d = 0; d < static_cast<std::size_t>(D); ++d)
        sum += counts[k] * (std::log(eigen.values[d]) + along[d * static_cast<std::size_t>(D + 1)] / eigen.values[d]);
    }
    return sum;
  }
};

// A small step away from covariances of the model, to others of it.
std::vector<Numbers> step_away(Covariance model, const std::vector<Numbers>& from, std::mt19937_64& random) {
  std::normal_distribution<double> normal(0, 1e-3);
  const std::string name = model == Covariance::full ? "VVV" : to_string(model);
  std::vector<Eigen> parts;
  for (const Numbers& matrix : from) parts.emplace_back(matrix);
  double common_volume = std::exp(normal(random));
  Numbers common_shape, common_turn;
  for (Index d = 0; d < D; ++d) common_shape.push_back(normal(random));
  for (Index a = 0; a < D * D; ++a) common_turn.push_back(normal(random));
  std::vector<Numbers> result;
  for (Eigen& part : parts) {
    const double volume = name[0] == 'E' ? common_volume : std::exp(normal(random));
    Numbers shape = common_shape, turn = common_turn;
    if (name[1] == 'V')
      for (double& value : shape) value = normal(random);
    if (name[2] == 'V')
      for (double& value : turn) value = normal(random);
    if (name[1] == 'I') std::fill(shape.begin(), shape.end(), 0.0);
    double mean = 0;
    for (const double value : shape) mean += value / static_cast<double>(D);
    // Where axes are common, eigenvalues are in the order of the first component's.
    for (Index d = 0; d < D; ++d) {
      Index place = d;
      if (name[2] != 'V' && name[1] == 'E')
        for (Index e = 0; e < D; ++e) {
          double dot = 0;
          for (Index i = 0; i < D; ++i)
            dot += part.vectors[static_cast<std::size_t>(d * D + i)] * parts.front().vectors[static_cast<std::size_t>(e * D + i)];
          if (std::abs(dot) > 0.9) place = e;
        }
      part.values[static_cast<std::size_t>(d)] *= volume * std::exp(shape[static_cast<std::size_t>(place)] - mean);
    }
    Numbers moved = part.matrix();
    if (name[2] != 'I')
      for (Index a = 0; a < D; ++a)
        for (Index b = a + 1; b < D; ++b) {
          const Numbers R = rotation(a, b, turn[static_cast<std::size_t>(a * D + b)]);
          moved = product(product(R, moved), transposed(R));
        }
    result.push_back(std::move(moved));
  }
  return result;
}

class SharedCovariances : public testing::TestWithParam<Covariance> {};

TEST_P(SharedCovariances, HaveTheLargestLikelihoodOfTheirKind) {
  for (unsigned seed = 1; seed < 6; ++seed) {
    const Problem problem(seed);
    const auto found = matrices(GetParam(), problem.shared(GetParam(), problem.round(GetParam())));
    const double least = problem.deviance(found);
    std::mt19937_64 random(seed);
    for (int i = 0; i < 200; ++i)
      EXPECT_GE(problem.deviance(step_away(GetParam(), found, random)), least - 1e-9 * std::abs(least));
  }
}

TEST_P(SharedCovariances, ShareWhatTheirNameSays) {
  const std::string name = to_string(GetParam());
  const Problem problem(7);
  const auto found = matrices(GetParam(), problem.shared(GetParam(), problem.round(GetParam())));
  const Eigen first(found.front());
  for (const Numbers& matrix : found) {
    const Eigen eigen(matrix);
    if (name[0] == 'E') {
      EXPECT_NEAR(eigen.volume(), first.volume(), 1e-12 * first.volume());
    } else {
      EXPECT_TRUE(&matrix == &found.front() || std::abs(eigen.volume() / first.volume() - 1) > 1e-3);
    }
    for (std::size_t d = 0; d < eigen.values.size() && name[1] == 'E'; ++d)
      EXPECT_NEAR(eigen.values[d] / eigen.volume(), first.values[d] / first.volume(), 1e-10);
    if (name[2] != 'E') continue;
    const Numbers along = product(product(first.vectors, matrix), transposed(first.vectors));
    for (Index a = 0; a < D; ++a)
      for (Index b = 0; b < a; ++b) EXPECT_NEAR(along[static_cast<std::size_t>(a * D + b)], 0, 1e-9 * eigen.values.back());
  }
}

TEST_P(SharedCovariances, StayWhereTheyAreTheOwnOnes) {
  Problem problem(3);
  const Numbers once = problem.shared(GetParam(), problem.round(GetParam()));
  problem.own = matrices(GetParam(), once);
  const Numbers twice = problem.shared(GetParam(), once);
  for (std::size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(twice[i], once[i], 1e-9);
}

TEST_P(SharedCovariances, AreNoWorseThanTheOnesBefore) {
  const Numbers before = Problem(11).shared(GetParam(), Problem(11).round(GetParam()));
  for (unsigned seed = 20; seed < 30; ++seed) {
    const Problem problem(seed);
    const double now = problem.deviance(matrices(GetParam(), problem.shared(GetParam(), before)));
    EXPECT_LE(now, problem.deviance(matrices(GetParam(), before)) + 1e-9 * std::abs(now));
  }
}

TEST_P(SharedCovariances, LeaveAnEmptyComponentAlone) {
  Problem problem(5);
  problem.counts[1] = 0;
  const Numbers found = problem.shared(GetParam(), problem.round(GetParam()));
  Problem without(5);
  without.counts[1] = 0;
  without.own[1] = without.own[0];
  const Numbers other = without.shared(GetParam(), without.round(GetParam()));
  const std::size_t size = found.size() / static_cast<std::size_t>(K);
  for (std::size_t i = 0; i < found.size(); ++i)
    if (i / size != 1) {
      EXPECT_EQ(found[i], other[i]);
    }
}

INSTANTIATE_TEST_SUITE_P(Models, SharedCovariances,
                         testing::Values(Covariance::EII, Covariance::EEI, Covariance::VEI, Covariance::EVI,
                                         Covariance::VEE, Covariance::EVE, Covariance::VVE, Covariance::EEV,
                                         Covariance::VEV, Covariance::EVV),
                         [](const auto& each) { return std::string(to_string(each.param)); });

TEST(CovarianceModel, CountsParametersAsMclustDoes) {
  // The df of mclust 6.0.0 for d = 4, G = 3 (cases/gmm_mclust14_iris), less 2 weights and 12 means.
  const std::vector<std::pair<const char*, Index>> expected = {
      {"EII", 1},  {"VII", 3},  {"EEI", 4},  {"VEI", 6},  {"EVI", 10}, {"VVI", 12}, {"EEE", 10},
      {"VEE", 12}, {"EVE", 16}, {"VVE", 18}, {"EEV", 22}, {"VEV", 24}, {"EVV", 28}, {"VVV", 30}};
  for (const auto& [name, count] : expected) EXPECT_EQ(free_parameters_of(parse_covariance(name), 3, 4), count) << name;
  EXPECT_THROW(parse_covariance("VIE"), UsageError);
}

TEST(CovarianceModel, HasOneNameForEachWord) {
  for (const auto& [word, name] : covariance_synonyms()) EXPECT_EQ(to_string(parse_covariance(word)), name);
  EXPECT_EQ(covariance_synonyms().size() + covariance_variants().size(), 14U);
}

}  // namespace
}  // namespace tally
