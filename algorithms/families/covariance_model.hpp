#pragma once
#include <map>
#include <string>
#include <vector>

#include "core/view.hpp"

namespace tally {

// How covariances are kept and counted: (K, D, D), one (D, D), variances (K, D), one variance each (K).
enum class CovarianceForm { full, tied, diag, spherical };

// The 14 parameterisations Sigma_k = lambda_k D_k A_k D_k' by volume, shape and orientation, each equal (E), varying (V)
// or the identity (I) (Banfield and Raftery, Biometrics 49, 1993; Celeux and Govaert, Pattern Recognition 28, 1995). Four
// have the words by which most know them: full is VVV, tied EEE, diag VVI, spherical VII.
enum class Covariance { full, tied, diag, spherical, EII, EEI, VEI, EVI, VEE, EVE, VVE, EEV, VEV, EVV };

// The names of all but full, tied, diag and spherical; and these four by their letters.
std::vector<std::string> covariance_variants();
std::map<std::string, std::string> covariance_synonyms();
// Throws UsageError.
Covariance parse_covariance(const std::string& word);
const char* to_string(Covariance covariance);

CovarianceForm form_of(Covariance covariance);
// Whether components share a part of their covariances, but for tied, which has a form of its own.
bool shares_parts(Covariance covariance);
// Whether every component must have a volume of its own, from which the common one is made.
bool needs_own_volumes(Covariance covariance);
// Of K covariances of D columns.
Index free_parameters_of(Covariance covariance, Index components, Index columns);
// Whether scaling one column and not another changes which covariances fit the parameterisation.
bool needs_common_scale(Covariance covariance);

}  // namespace tally
