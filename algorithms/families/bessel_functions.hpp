#pragma once

namespace tally {

// Of the modified Bessel function I of an order >= 0 at x >= 0, to about 1e-13: down the ratios of neighbouring orders
// from 128 on, where I is that of Debye's uniform expansion (NIST Digital Library of Mathematical Functions, 10.29.1,
// 10.41.3 and 10.41.9-10). Neither overflows, and both are as good at x = 0 and 1e10.

// log(I_order(x) / (x^order exp(x))).
double log_scaled_bessel(double order, double x);
// 1 - I_(order + 1)(x) / I_order(x), which is small where x is large.
double bessel_ratio_complement(double order, double x);

}  // namespace tally
