#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "core/backends/cpu_lane.hpp"
#include "core/backends/generic_lane.hpp"

namespace tally {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

template <class Real>
constexpr double eps = std::numeric_limits<Real>::epsilon();

// Rows of a matrix with room behind each, which nobody may touch.
template <class Real>
class Matrix {
 public:
  Matrix(Index rows, Index cols, double scale = 0, std::uint64_t seed = 1)
      : rows_(rows), cols_(cols), values_(static_cast<std::size_t>(rows * (cols + 3)), Real(-77)) {
    std::mt19937_64 engine(seed);
    std::normal_distribution<double> normal;
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < cols; ++j) (*this)(i, j) = static_cast<Real>(scale * normal(engine));
  }
  Real& operator()(Index i, Index j) { return view()(i, j); }
  MatrixView<Real> view() { return {values_.data(), rows_, cols_, cols_ + 3}; }
  MatrixView<const Real> constant() const { return {values_.data(), rows_, cols_, cols_ + 3}; }
  Matrix& rounded() {
    for (Index i = 0; i < rows_; ++i)
      for (Index j = 0; j < cols_; ++j) (*this)(i, j) = std::round((*this)(i, j));
    return *this;
  }

  friend bool operator==(const Matrix&, const Matrix&) = default;

 private:
  Index rows_, cols_;
  std::vector<Real> values_;
};

// Centres as a search for the nearest reads them.
template <class Real>
class Centres {
 public:
  explicit Centres(Matrix<Real>& centres) : exact_(centres.view().rows, centres.view().cols) {
    const Index K = centres.view().rows, D = centres.view().cols;
    for (Index k = 0; k < K; ++k) {
      double norm = 0;
      for (Index d = 0; d < D; ++d) {
        exact_(k, d) = centres(k, d);
        norm += exact_(k, d) * exact_(k, d);
      }
      half_norms_.push_back(norm / 2);
      largest_ = std::max(largest_, std::sqrt(norm));
    }
    std::vector<double> panels(static_cast<std::size_t>(cpu::panels_size(K, D)));
    cpu::write_panels(exact_.constant(), half_norms_.data(), panels.data());
    panels_.assign(panels.begin(), panels.end());
  }
  cpu::Centres<Real> view() const { return {exact_.constant(), half_norms_.data(), &largest_, panels_.data()}; }

 private:
  Matrix<double> exact_;
  std::vector<double> half_norms_;
  std::vector<Real> panels_;
  double largest_ = 0;
};

template <class Real>
void expect_near(Matrix<Real>& a, Matrix<Real>& b, double tolerance) {
  for (Index i = 0; i < a.view().rows; ++i)
    for (Index j = 0; j < a.view().cols; ++j) EXPECT_NEAR(a(i, j), b(i, j), tolerance) << i << ", " << j;
}

// Posterior weights: as many units in the last place of a weight as its exponential and its quotient may be
// off.
template <class Real>
constexpr double posterior_tolerance = 8 * eps<Real>;
// Sums of a few hundred doubles in another order, relative to the sum of magnitudes.
constexpr double sum_tolerance = 1e-13;

template <class Real>
class GenericKernels : public testing::Test {
 protected:
  static constexpr Index rows = 300;  // more than one run of sums and than one tile
  GenericKernels() {
    for (Index i = 0; i < rows; ++i) {
      weights.push_back(static_cast<double>(i % 4) / 2);
      offsets.push_back(0.25 * static_cast<double>(i % 7));
    }
  }
  cpu::RowTerms terms(std::vector<double>& objectives) {
    objectives.assign(rows, -1);
    return {weights.data(), offsets.data(), objectives.data()};
  }
  CpuLane cpu_lane;
  GenericLane generic_lane;
  std::vector<double> weights, offsets;
};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(GenericKernels, Precisions);

TYPED_TEST(GenericKernels, FeaturesAreTheCpusBitForBit) {
  using Real = TypeParam;
  for (const Index D : {1, 2, 5, 17, 100}) {
    Matrix<Real> x(35, D, 2);
    Matrix<Real> linear(35, 1 + D), square(35, 1 + 2 * D), indicator(35, 1 + 2 * D), quadratic(35, 1 + D + D * (D + 1) / 2);
    auto expected_linear = linear, expected_square = square, expected_indicator = indicator,
         expected_quadratic = quadratic;

    this->generic_lane.linear_features(x.constant(), linear.view());
    this->generic_lane.square_features(x.constant(), square.view());
    this->generic_lane.quadratic_features(x.constant(), quadratic.view());
    this->generic_lane.indicator_features(x.constant(), indicator.view());
    this->cpu_lane.linear_features(x.constant(), expected_linear.view());
    this->cpu_lane.square_features(x.constant(), expected_square.view());
    this->cpu_lane.quadratic_features(x.constant(), expected_quadratic.view());
    this->cpu_lane.indicator_features(x.constant(), expected_indicator.view());

    EXPECT_EQ(linear, expected_linear);
    EXPECT_EQ(square, expected_square);
    EXPECT_EQ(quadratic, expected_quadratic);
    EXPECT_EQ(indicator, expected_indicator);
  }
}

// Whole numbers, whose squares sum exactly in any order.
TYPED_TEST(GenericKernels, NormFeaturesAreExactOnWholeNumbers) {
  using Real = TypeParam;
  for (const Index D : {1, 2, 5, 17}) {
    Matrix<Real> x(35, D, 20);
    x.rounded();
    Matrix<Real> norm(35, 2 + D);
    auto expected = norm;

    this->generic_lane.norm_features(x.constant(), norm.view());
    this->cpu_lane.norm_features(x.constant(), expected.view());

    EXPECT_EQ(norm, expected);
  }
}

TYPED_TEST(GenericKernels, SoftmaxIsTheCpus) {
  using Real = TypeParam;
  for (const Index K : {1, 2, 7, 32, 33, 150}) {
    for (const double scale : {1.0, 50.0, 1000.0}) {
      Matrix<Real> logits(this->rows, K, scale);
      auto expected = logits;
      std::vector<double> objectives, expected_objectives;
      double total = 3, expected_total = 3;

      this->generic_lane.softmax_rows(logits.view(), this->terms(objectives), &total);
      this->cpu_lane.softmax_rows(expected.view(), this->terms(expected_objectives), &expected_total);

      expect_near(logits, expected, posterior_tolerance<Real>);
      double magnitude = 3;
      for (std::size_t i = 0; i < objectives.size(); ++i) {
        EXPECT_NEAR(objectives[i], expected_objectives[i],
                    posterior_tolerance<Real> + eps<Real> * std::abs(objectives[i]));
        magnitude += 2 * std::abs(objectives[i]);
      }
      EXPECT_NEAR(total, expected_total, (sum_tolerance + eps<Real>)*magnitude);
    }
  }
}

// Impossible, certain, invalid and tied rows: {logits, weight}. K = 3.
template <class Real>
std::vector<Matrix<Real>> odd_rows() {
  constexpr Real no = -std::numeric_limits<Real>::infinity(), nan = std::numeric_limits<Real>::quiet_NaN();
  const Real rows[][3] = {
      {no, no, no}, {no, 1, no}, {nan, 1, 2}, {1, nan, no},    {no, nan, no},
      {1, 5, -no},  {4, 4, 4},   {2, 7, 7},   {0, -690, -710}, {0, Real(-77.5), Real(-77.7)}};
  std::vector<Matrix<Real>> result;
  for (const auto& row : rows) {
    result.emplace_back(1, 3);
    for (Index k = 0; k < 3; ++k) result.back()(0, k) = row[k];
  }
  return result;
}

// Equal, both NaN, or within the tolerance of weights.
template <class Real>
bool alike(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return a == b || std::abs(a - b) <= posterior_tolerance<Real> * std::max(1.0, std::abs(b));
}

TYPED_TEST(GenericKernels, OddRowsAreTheCpus) {
  using Real = TypeParam;
  for (const double weight : {0.0, 2.0}) {
    for (const auto& row : odd_rows<Real>()) {
      double objective[2], argmax_objective[2], total[2] = {}, argmax_total[2] = {};
      std::int32_t label[2];
      Matrix<Real> soft[2] = {row, row}, hard[2] = {row, row};

      this->generic_lane.softmax_rows(soft[0].view(), {&weight, nullptr, &objective[0]}, &total[0]);
      this->cpu_lane.softmax_rows(soft[1].view(), {&weight, nullptr, &objective[1]}, &total[1]);
      this->generic_lane.argmax_rows(hard[0].view(), {&weight, nullptr, &argmax_objective[0]}, &label[0],
                                     &argmax_total[0]);
      this->cpu_lane.argmax_rows(hard[1].view(), {&weight, nullptr, &argmax_objective[1]}, &label[1],
                                 &argmax_total[1]);

      auto logits = row;
      const auto what = testing::PrintToString(std::vector<Real>{logits(0, 0), logits(0, 1), logits(0, 2)}) +
                        " of weight " + std::to_string(weight);
      EXPECT_TRUE(alike<Real>(objective[0], objective[1])) << what << objective[0] << " " << objective[1];
      EXPECT_TRUE(alike<Real>(total[0], total[1])) << what << total[0] << " " << total[1];
      EXPECT_TRUE(alike<Real>(argmax_objective[0], argmax_objective[1])) << what;
      EXPECT_TRUE(alike<Real>(argmax_total[0], argmax_total[1])) << what;
      EXPECT_EQ(label[0], label[1]) << what;
      for (Index k = 0; k < 3; ++k) {
        EXPECT_TRUE(alike<Real>(soft[0](0, k), soft[1](0, k))) << what;
        EXPECT_TRUE(alike<Real>(hard[0](0, k), hard[1](0, k))) << what;
      }
    }
  }
}

TYPED_TEST(GenericKernels, ArgmaxIsTheCpus) {
  using Real = TypeParam;
  for (const Index K : {1, 2, 7, 32, 33, 150}) {
    Matrix<Real> logits(this->rows, K, 3);
    logits.rounded();  // ties
    auto expected = logits;
    std::vector<double> objectives, expected_objectives;
    std::vector<std::int32_t> labels(this->rows), expected_labels(this->rows);
    double total = 0, expected_total = 0;

    this->generic_lane.argmax_rows(logits.view(), this->terms(objectives), labels.data(), &total);
    this->cpu_lane.argmax_rows(expected.view(), this->terms(expected_objectives), expected_labels.data(),
                               &expected_total);

    EXPECT_EQ(logits, expected);
    EXPECT_EQ(labels, expected_labels);
    EXPECT_EQ(objectives, expected_objectives);
    EXPECT_EQ(total, expected_total);
  }
}

// Far from the origin, on a grid: scores cannot tell the centres apart, distances are exact and many tie.
TYPED_TEST(GenericKernels, NearestIsTheCpusThoughScoresCannotTell) {
  using Real = TypeParam;
  for (const double offset : {0.0, sizeof(Real) == 4 ? 0x1p20 : 0x1p48, sizeof(Real) == 4 ? 1e30 : 1e200}) {
    for (const Index K : {1, 3, 20}) {
      const Index D = 5;
      Matrix<Real> x(this->rows, D, 2, 7), centres(K, D, 2, 8);
      for (Index i = 0; i < this->rows; ++i)
        for (Index d = 0; d < D; ++d) x(i, d) = static_cast<Real>(offset + std::round(x(i, d)));
      for (Index k = 0; k < K; ++k)
        for (Index d = 0; d < D; ++d) centres(k, d) = static_cast<Real>(offset + std::round(centres(k, d)));
      const Centres<Real> all(centres);
      std::vector<double> distances, expected_distances;
      std::vector<std::int32_t> labels(this->rows), expected_labels(this->rows);
      double total = 0, expected_total = 0;

      this->generic_lane.nearest_rows(x.constant(), all.view(), this->terms(distances), labels.data(), &total);
      this->cpu_lane.nearest_rows(x.constant(), all.view(), this->terms(expected_distances), expected_labels.data(),
                                  &expected_total);

      EXPECT_EQ(labels, expected_labels);
      EXPECT_EQ(distances, expected_distances);
      EXPECT_EQ(total, expected_total);
    }
  }
}

// Shapes about the sizes of panels, of groups of rows and of what is staged at a time. Centres repeat: rows tie.
TYPED_TEST(GenericKernels, NearestIsTheCpusWhateverTheShape) {
  using Real = TypeParam;
  for (const Index K : {1, 2, 16, 17, 33, 64, 65, 150}) {
    for (const Index D : {1, 3, 16, 17, 40}) {
      for (const Index count : {1, 63, 64, 129, 300}) {
        Matrix<Real> x(count, D, 2, 7), centres(K, D, 1, 8);
        for (Index d = 0; d < D; ++d) centres(K - 1, d) = centres(K / 2, d);
        const Centres<Real> prepared(centres);
        std::vector<double> distances, expected_distances;
        std::vector<std::int32_t> labels(this->rows), expected_labels(this->rows);
        double total = 0, expected_total = 0;

        this->generic_lane.nearest_rows(x.constant(), prepared.view(), this->terms(distances), labels.data(), &total);
        this->cpu_lane.nearest_rows(x.constant(), prepared.view(), this->terms(expected_distances),
                                    expected_labels.data(), &expected_total);

        ASSERT_EQ(labels, expected_labels) << K << " centres, " << D << " columns, " << count << " rows";
        for (std::size_t i = 0; i < distances.size(); ++i)
          ASSERT_NEAR(distances[i], expected_distances[i], sum_tolerance * std::abs(expected_distances[i]));
        ASSERT_NEAR(total, expected_total, sum_tolerance * expected_total);
      }
    }
  }
}

// As many rows as fill several spans of chunks, most of them in one label, one label in none.
TYPED_TEST(GenericKernels, LabelledSumsAreTheCpusWhateverTheShape) {
  using Real = TypeParam;
  for (const Index K : {1, 2, 7, 70}) {
    for (const Index count : {1, 127, 128, 129, 5000}) {
      const Index D = 3;
      Matrix<Real> x(count, D, 20), anywhere(K, D, 20, 9);
      x.rounded();
      Matrix<double> origins(K, D), sums(K, 1 + D), expected(K, 1 + D);
      std::vector<std::int32_t> labels;
      for (Index i = 0; i < count; ++i) {
        const Index spread = i * 7919 % 101;
        labels.push_back(static_cast<std::int32_t>(spread < 60 || spread % K == K / 2 ? 0 : spread % K));
      }
      for (Index k = 0; k < K; ++k)
        for (Index d = 0; d < D; ++d) origins(k, d) = std::round(static_cast<double>(anywhere(k, d)));

      for (int repeat = 0; repeat < 2; ++repeat) {
        this->generic_lane.add_rows_by_label(x.constant(), labels.data(), nullptr, origins.constant(), sums.view());
        this->cpu_lane.add_rows_by_label(x.constant(), labels.data(), nullptr, origins.constant(), expected.view());
      }

      EXPECT_EQ(sums, expected) << K << " labels, " << count << " rows";
    }
  }
}

// Values and weights of few bits: their products sum exactly.
TYPED_TEST(GenericKernels, SumsOverRowsAreTheCpus) {
  using Real = TypeParam;
  for (const Index K : {1, 3, 20}) {
    const Index D = 6;
    Matrix<Real> x(this->rows, D, 20), posterior(this->rows, K, 2, 5);
    x.rounded();
    posterior.rounded();
    std::vector<std::int32_t> labels;
    for (Index i = 0; i < this->rows; ++i) labels.push_back(static_cast<std::int32_t>(i * i % K));
    const Matrix<double> start(K, 1 + D, 0);
    Matrix<double> nowhere(K, D, 0), origins(K, D, 20, 9);
    origins.rounded();
    auto labelled = start, weighted = start, about = start, product = start;
    auto expected_labelled = start, expected_weighted = start, expected_about = start, expected_product = start;
    Matrix<Real> features(this->rows, 1 + D);
    this->cpu_lane.linear_features(x.constant(), features.view());

    for (int repeat = 0; repeat < 2; ++repeat) {  // sums are added to
      this->generic_lane.add_rows_by_label(x.constant(), labels.data(), this->weights.data(), origins.constant(),
                                           labelled.view());
      this->generic_lane.add_weighted_rows(x.constant(), posterior.constant(), nowhere.constant(), weighted.view());
      this->generic_lane.add_weighted_rows(x.constant(), posterior.constant(), origins.constant(), about.view());
      this->generic_lane.add_multiply_tn(posterior.constant(), features.constant(), product.view());
      this->cpu_lane.add_rows_by_label(x.constant(), labels.data(), this->weights.data(), origins.constant(),
                                       expected_labelled.view());
      this->cpu_lane.add_weighted_rows(x.constant(), posterior.constant(), nowhere.constant(),
                                       expected_weighted.view());
      this->cpu_lane.add_weighted_rows(x.constant(), posterior.constant(), origins.constant(), expected_about.view());
      this->cpu_lane.add_multiply_tn(posterior.constant(), features.constant(), expected_product.view());
    }

    EXPECT_EQ(labelled, expected_labelled);
    EXPECT_EQ(weighted, expected_weighted);
    EXPECT_EQ(about, expected_about);
    EXPECT_EQ(product, expected_product);
    EXPECT_EQ(product, weighted);
  }
}

// Symbols from formulas, with some that are none: those count as 0. Values of few bits sum exactly.
TYPED_TEST(GenericKernels, SymbolsAreLookedUpAndSummed) {
  using Real = TypeParam;
  for (const Index K : {1, 4, 7, 20})
    for (const Index S : {1, 3, 300}) {
      const Index D = 3;
      Matrix<Real> x(this->rows, D), constants(1, K, 20), table(D * S, K, 20, 3), posterior(this->rows, K, 20, 5);
      for (Index i = 0; i < this->rows; ++i)
        for (Index d = 0; d < D; ++d) x(i, d) = static_cast<Real>(i * (d + 1) % S);
      x(5, 0) = static_cast<Real>(S);
      x(6, 1) = -1;
      x(7, 2) = std::numeric_limits<Real>::quiet_NaN();
      constants.rounded();
      table.rounded();
      table(0, 0) = -std::numeric_limits<Real>::infinity();
      posterior.rounded();
      Matrix<Real> logits(this->rows, K), of_cpu = logits, expected = logits;
      Matrix<double> sums(D * S, K), sums_of_cpu = sums, expected_sums = sums;
      for (Index i = 0; i < this->rows; ++i)
        for (Index k = 0; k < K; ++k) {
          expected(i, k) = constants(0, k);
          for (Index d = 0; d < D; ++d) {
            const Index symbol = x(i, d) >= 0 && x(i, d) < static_cast<Real>(S) ? static_cast<Index>(x(i, d)) : 0;
            expected(i, k) += table(d * S + symbol, k);
            expected_sums(d * S + symbol, k) += 2 * static_cast<double>(posterior(i, k));
          }
        }

      this->generic_lane.look_up(x.constant(), constants.view().data, table.constant(), logits.view());
      this->cpu_lane.look_up(x.constant(), constants.view().data, table.constant(), of_cpu.view());
      for (int repeat = 0; repeat < 2; ++repeat) {  // sums are added to
        this->generic_lane.add_rows_by_symbol(x.constant(), posterior.constant(), sums.view());
        this->cpu_lane.add_rows_by_symbol(x.constant(), posterior.constant(), sums_of_cpu.view());
      }

      EXPECT_EQ(logits, expected);
      EXPECT_EQ(of_cpu, expected);
      EXPECT_EQ(sums, expected_sums);
      EXPECT_EQ(sums_of_cpu, expected_sums);
    }
}

// 2^-24 is lost beside 1 in float.
TYPED_TEST(GenericKernels, SumsBySymbolAreTakenInDouble) {
  using Real = TypeParam;
  Matrix<Real> x(this->rows, 1), posterior(this->rows, 1);
  for (Index i = 0; i < this->rows; ++i) x(i, 0) = 0, posterior(i, 0) = i == 0 ? Real(1) : Real(0x1p-24);
  Matrix<double> sums(1, 1), sums_of_cpu(1, 1);

  this->generic_lane.add_rows_by_symbol(x.constant(), posterior.constant(), sums.view());
  this->cpu_lane.add_rows_by_symbol(x.constant(), posterior.constant(), sums_of_cpu.view());

  EXPECT_EQ(sums(0, 0), 1 + static_cast<double>(this->rows - 1) * 0x1p-24);
  EXPECT_EQ(sums_of_cpu(0, 0), sums(0, 0));
}

// Sums so large that few slices are summed at once, the last of them short.
TEST(GenericLane, SumsOfManySymbolsAreTakenInParts) {
  const Index rows = 3000, S = 700, K = 3000;
  Matrix<float> x(rows, 1), posterior(rows, K);
  Matrix<double> sums(S, K), expected(S, K);
  for (Index i = 0; i < rows; ++i) {
    x(i, 0) = static_cast<float>(i * 11 % S);
    for (Index k = 0; k < K; ++k) {
      posterior(i, k) = static_cast<float>((i + k) % 3);
      expected(i * 11 % S, k) += static_cast<double>(posterior(i, k));
    }
  }

  GenericLane().add_rows_by_symbol(x.constant(), posterior.constant(), sums.view());

  EXPECT_EQ(sums, expected);
}

// 1 + 2^-24 + 2^-24 + ... is 1 in float: only sums beyond a slice that are taken in double grow.
TEST(GenericLane, FloatProductsAreSummedInDoubleBeyondASlice) {
  constexpr Index slice = GenericLane::slice_rows, rows = 4 * slice;
  Matrix<float> a(rows, 1), b(rows, 1);
  for (Index i = 0; i < rows; ++i) a(i, 0) = 1;
  for (Index i = 0; i < rows; i += slice) b(i, 0) = i == 0 ? 1.0F : 0x1p-24F;
  Matrix<double> sum(1, 1);

  GenericLane().add_multiply_tn(a.constant(), b.constant(), sum.view());

  EXPECT_EQ(sum(0, 0), 1 + 3 * 0x1p-24);
}

// Products so large that few slices are multiplied at once, the last of them short; small whole numbers sum exactly.
TEST(GenericLane, LargeProductsAreMultipliedInParts) {
  const Index rows = GenericLane::slice_rows + 5, width = 1500;
  Matrix<double> a(rows, width), b(rows, width), sum(width, width);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < width; j += 37) a(i, j) = static_cast<double>(i + j), b(i, j) = static_cast<double>(i - j);
  sum(37, 74) = 9;

  GenericLane().add_multiply_tn(a.constant(), b.constant(), sum.view());

  double expected = 9;
  for (Index i = 0; i < rows; ++i) expected += static_cast<double>((i + 37) * (i - 74));
  EXPECT_EQ(sum(37, 74), expected);
  EXPECT_EQ(sum(1, 1), 0);
}

TEST(GenericLane, ObjectivesOfManyRowsAreSummed) {
  const Index rows = 10000;
  Matrix<double> logits(rows, 1);
  double total = 1, expected = 1;
  for (Index i = 0; i < rows; ++i) expected += logits(i, 0) = static_cast<double>(i % 97);

  GenericLane().argmax_rows(logits.view(), {}, nullptr, &total);

  EXPECT_EQ(total, expected);
}

// Far beyond any D at hand, where the root is least exact: the first and the last product of each column.
TEST(GenericLane, ProductsAreFoundInWideRows) {
  const Index D = 100000;
  const generic::QuadraticFeatures<float> features{{nullptr, 0, D}, {}};
  Index begin = 0;
  for (Index column = 0; column < D; begin += D - column++) {
    Index a = -1, b = -1;
    features.find_product(begin, a, b);
    ASSERT_EQ(a, column);
    ASSERT_EQ(b, column);
    features.find_product(begin + D - column - 1, a, b);
    ASSERT_EQ(a, column);
    ASSERT_EQ(b, D - 1);
  }
}

TEST(GenericLane, ImpossibleRowsOfWeightZeroAddNothing) {
  Matrix<double> logits(2, 2);
  logits(0, 0) = logits(0, 1) = -inf;
  const double weights[] = {0, 1};
  double total = 0;

  GenericLane().softmax_rows(logits.view(), {weights, nullptr, nullptr}, &total);

  EXPECT_DOUBLE_EQ(total, std::log(2.0));
}

}  // namespace
}  // namespace tally
