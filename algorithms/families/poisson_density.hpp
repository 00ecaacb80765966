#pragma once

namespace tally {

// log(a / b) of a >= 0 and b > 0 to full relative precision, also where a is near b. Minus infinity where a is 0.
double log_ratio(double a, double b);

// log(rate^x exp(-rate) / x!) of a whole x >= 0 and a rate > 0, to about 1e-14 of its value where that exceeds 1. The
// terms of that formula are never subtracted from each other where x is large: C. Loader, "Fast and accurate computation
// of binomial probabilities", 2000.
double poisson_log_density(double x, double rate);

}  // namespace tally
