#include "algorithms/families/gamma_functions.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace tally {
namespace {

struct Reference {
  double a, log_gamma_rest, digamma, log_minus_digamma, trigamma_minus_inverse;
};

// loggamma(a) - a log(a) + a, digamma(a), log(a) - digamma(a) and psi(1, a) - 1/a by mpmath 1.4.1 with 50 digits.
const std::vector<Reference> references = {
    {1e-12, 27.631021115956602, -1000000000000.5772, 999999999972.94621, 9.9999999999900004e+23},
    {0.001, 6.9150866406628358, -1000.5755719318103, 993.66781665282814, 999001.64253319583},
    {0.1, 2.5829711610336105, -10.423754940411076, 8.1211698474170306, 91.433299150792748},
    {1, 1.0, -0.57721566490153286, 0.57721566490153286, 0.64493406684822644},
    {1.4616321449683622, 0.78537793823438936, -9.2412655217294275e-17, 0.37955371883951802, 0.28350557366055167},
    {2, 0.61370563888010938, 0.42278433509846714, 0.27036284546147817, 0.14493406684822644},
    {3.7, 0.28724089395972648, 1.1671535393615114, 0.14117928028866737, 0.039767587399768045},
    {15.999, -0.46211659560476227, 2.7409488324649628, 0.031577387821612117, 0.0019940351872053321},
    {16, -0.46214817199560824, 2.7410133283274604, 0.031575393912320869, 0.0019937834032393618},
    {100, -1.382813229233738, 4.6001618527380874, 0.0050083332500039678, 5.0166663333571395e-5},
    {100000.0, -4.8375233659471081, 11.512920464961895, 5.0000083333333333e-6, 5.0000166666666663e-11},
    {1000000000000.0, -12.896572024759518, 27.631021115928048, 5.0000000000008333e-13, 5.0000000000016667e-25},
};

// A few roundings of at most sixteen terms.
constexpr double relative = 1e-14;

TEST(GammaFunctions, AreThoseOfExactArithmetic) {
  for (const Reference& expected : references) {
    const double a = expected.a;
    EXPECT_NEAR(log_gamma_rest(a), expected.log_gamma_rest, relative * std::max(1.0, std::abs(expected.log_gamma_rest)));
    EXPECT_NEAR(digamma(a), expected.digamma, relative * std::max(1.0, std::abs(expected.digamma))) << a;
    EXPECT_NEAR(log_minus_digamma(a), expected.log_minus_digamma, relative * expected.log_minus_digamma) << a;
    EXPECT_NEAR(trigamma_minus_inverse(a), expected.trigamma_minus_inverse, relative * expected.trigamma_minus_inverse) << a;
  }
}

TEST(GammaFunctions, HaveTheirInverses) {
  for (const Reference& expected : references) {
    const double a = expected.a;
    EXPECT_NEAR(inverse_log_minus_digamma(expected.log_minus_digamma), a, relative * a);
    // digamma grows like log(a): its last digit is one of log(a).
    EXPECT_NEAR(inverse_digamma(expected.digamma), a, relative * a * std::max(1.0, std::abs(expected.digamma)));
  }
}

}  // namespace
}  // namespace tally
