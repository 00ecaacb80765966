#include "algorithms/families/poisson_density.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "algorithms/families/poisson.hpp"

namespace tally {
namespace {

struct Reference {
  double x, rate, log_density;
};

// x log(rate) - rate - loggamma(x + 1) by mpmath 1.3.0 with 60 digits.
const std::vector<Reference> references = {
    {0, 0.5, -0.5},
    {0, 0x1p+40, -1099511627776.0},
    {1, 0x1p-30, -20.794415417729681857},
    {1, 1, -1},
    {2, 1000, -986.87763662259567121},
    {3, 0x1p+40, -1099511627694.6140978},
    {5, 5, -1.7403021806115441212},
    {15, 15, -2.2785183673077405761},
    {15, 0x1p+40, -1099511627388.010963},
    {16, 16, -2.3104405502441730011},
    {16, 0.25, -53.102569883998922705},
    {17, 20.5, -2.6578503856827264784},
    {100, 90, -3.7584085225369834632},
    {100, 100.25, -3.2226689368956334425},
    {100, 0x1.0624dd2f1a9fcp-10, -1054.5159034537771933},
    {1000, 1500, -98.907791397861914846},
    {1000, 1221, -25.702704377458669053},  // both sides of where the series ends
    {1000, 1223, -26.066042800990993617},
    {123456, 100000, -2564.7662804331597141},
    {999900, 1e6, -7.8316440597033111148},
    {1000000, 1e6, -7.8266938955201431272},
    {2147483653, 0x1p+31, -11.662719838907549449},
    {2147483653, 0x1p+20, -14227309572.793461163},
    {0x1p+40, 0x1p+40, -14.781882144403654721},
    {0x1p+40, 0x1.00001p+40, -15.281881826512443293},
    {0x1p+40 + 0x1p+21 + 1, 0x1p+40, -16.781883733860242402},
    {0x1p+40, 0x1p+41, -337388243004.97143184},
    {0x1p+40, 1, -29385423763672.199894},
    {0x1p+40, 0x1p-20, -44627891459387.408901},
};

// A few roundings of terms that are not much larger than the result.
constexpr double relative = 1e-14;

TEST(PoissonDensity, IsThatOfExactArithmeticAtAnyCountAndRate) {
  for (const auto& [x, rate, expected] : references)
    EXPECT_NEAR(poisson_log_density(x, rate), expected, relative * std::abs(expected)) << x << " at " << rate;
}

TEST(PoissonDensity, FollowsTheRecurrenceAcrossItsForms) {
  // p(x + 1) / p(x) = rate / (x + 1); 16 is where the factorials end, and 22/27 and 33/27 where the series does.
  constexpr double rounding = 1e-13;
  for (const double rate : {0.75, 16.0, 27.0, 300.0})
    for (double x = 0; x < 500; ++x)
      EXPECT_NEAR(poisson_log_density(x + 1, rate) - poisson_log_density(x, rate), std::log(rate / (x + 1)),
                  rounding * std::max(1.0, -poisson_log_density(x + 1, rate)))
          << x << " at " << rate;
}

TEST(PoissonDensity, NothingFiniteMakesANaN) {
  const double largest = std::numeric_limits<double>::max();
  for (const double x : {0.0, 1.0, 16.0, 0x1p+60, largest})
    for (const double rate : {0x1p-30, 1.0, largest}) EXPECT_FALSE(std::isnan(poisson_log_density(x, rate)));
}

TEST(LogRatio, KeepsItsDigitsNearOneAndSaysMinusInfinityAtZero) {
  EXPECT_EQ(log_ratio(1 + 0x1p-40, 1), 0x1p-40 - 0x1p-81);
  EXPECT_EQ(log_ratio(8, 8), 0);
  EXPECT_DOUBLE_EQ(log_ratio(8, 1), std::log(8.0));
  EXPECT_EQ(log_ratio(0, 8), -std::numeric_limits<double>::infinity());
}

// The log-density of one count under one component, as a fit composes it from coefficients and base measure.
double composed(double x, double rate, double reference) {
  PoissonFamily family(1, 1);
  Standardisation standardisation = Standardisation::none(1);
  standardisation.reference = {reference};
  family.set_standardisation(standardisation);
  Layout layout;
  family.add_parameters(layout);
  double eta[2];
  family.coefficients(layout, std::vector<double>{rate}, eta);
  return eta[0] + eta[1] * x + family.log_base_measure()(&x);
}

TEST(PoissonFamily, AnyReferenceGivesTheSameLogDensity) {
  for (const auto& [x, rate, expected] : references)
    for (const double reference : {0.0, 1.0, rate, 1.125 * rate, std::max(x, 1.0), 0x1p+40}) {
      const double used = std::max(reference, 0x1p-30);
      // Each part is rounded, and the parts' sum is off by that of the largest.
      const double largest = std::max({x * std::abs(std::log(rate / used)), std::abs(rate - used),
                                       std::abs(poisson_log_density(x, used)), 1.0});
      EXPECT_NEAR(composed(x, rate, reference), expected, relative * largest)
          << x << " at " << rate << " by " << reference;
    }
}

TEST(PoissonFamily, LargeCountsNearTheReferenceKeepTheirDigits) {
  // Means of 2^40 apart by one standard deviation: every part is of the size of its result, about 2^20 at most.
  EXPECT_NEAR(composed(0x1p+40, 0x1.00001p+40, 0x1p+40), -15.281881826512443293, 0x1p-31);
  EXPECT_NEAR(composed(0x1p+40, 0x1p+40, 0x1.00001p+40), -14.781882144403654721, 0x1p-31);
}

TEST(PoissonFamily, ARateOfZeroExplainsZeroAlone) {
  for (const double reference : {0.0, 3.0, 0x1p+40}) {
    EXPECT_EQ(composed(0, 0, reference), 0);
    EXPECT_LT(composed(1, 0, reference), -1e24);
  }
}

}  // namespace
}  // namespace tally
