#pragma once

namespace tally {

// Of any a > 0, to about 1e-14 of their value or of 1, by recurrence up to 16 and the asymptotic series there (NIST Digital
// Library of Mathematical Functions, 5.5, 5.11 and 5.15). No library's function, so the same bits wherever log is the same.

// log Gamma(a) - (a log(a) - a).
double log_gamma_rest(double a);
double digamma(double a);
// log(a) - digamma(a) > 0, which falls, and its derivative with the sign turned, trigamma(a) - 1 / a > 0. Neither takes a
// difference that cancels.
double log_minus_digamma(double a);
double trigamma_minus_inverse(double a);

// The a where log(a) - digamma(a) is `value` > 0, by T. P. Minka's generalised Newton steps ("Estimating a Gamma
// distribution", 2002).
double inverse_log_minus_digamma(double value);
// The a > 0 where digamma(a) is `value`, by Newton's method from the start of T. P. Minka, "Estimating a Dirichlet
// distribution", 2000.
double inverse_digamma(double value);

}  // namespace tally
