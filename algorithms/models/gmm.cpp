#include "algorithms/models/gmm.hpp"

#include "algorithms/families/family_entry.hpp"
#include "algorithms/families/gaussian.hpp"
#include "algorithms/families/gaussian_kernels.hpp"
#include "algorithms/families/missing_kernels.hpp"

namespace tally {
namespace {

template <class Make>
std::unique_ptr<Model> with_gaussian(Index components, Index columns, const GaussianOptions& options,
                                     const Make& make) {
  const GaussianFamily family(options, components, columns, true);
  const ExponentialKernel shape{components, family.width()};
  if (options.missing_values) {
    if (family.has_full_kernel()) return make(family, IncompleteGaussianKernel(GaussianFullKernel{shape}, columns));
    if (family.form() == CovarianceForm::diag) return make(family, ObservedColumns(GaussianDiagKernel{shape}, columns));
    return make(family, ObservedColumns(GaussianSphericalKernel{shape}, columns));
  }
  switch (family.form()) {
    case CovarianceForm::full: return make(family, EitherForm(GaussianFullKernel{shape}, columns));
    case CovarianceForm::tied: return make(family, EitherForm(GaussianTiedKernel{components, columns}, columns));
    case CovarianceForm::diag: return make(family, EitherForm(GaussianDiagKernel{shape}, columns));
    case CovarianceForm::spherical: return make(family, EitherForm(GaussianSphericalKernel{shape}, columns));
  }
  return nullptr;
}

GaussianOptions gaussian_options(const OptionValues& options) {
  GaussianOptions gaussian;
  if (const auto found = options.find("covariance"); found != options.end())
    gaussian.covariance = parse_covariance(found->second);
  gaussian.reg_covar = number_option(options, "reg-covar", gaussian.reg_covar);
  gaussian.missing_values = takes_missing_values(options);
  GaussianPrior& prior = gaussian.prior;
  prior.mean_precision = number_option(options, "mean-precision-prior", 0);
  prior.degrees_of_freedom = number_option(options, "degrees-of-freedom-prior", 0);
  if (const auto found = options.find("covariance-prior"); found != options.end() && found->second != "data")
    prior.covariance = parse_numbers("covariance-prior", found->second);
  return gaussian;
}

}  // namespace

std::unique_ptr<Model> make_gaussian_mixture(Index components, Index columns, const GaussianOptions& options) {
  return with_gaussian(components, columns, options, MakeMixture{"gmm"});
}

FamilyEntry gmm_entry() {
  return family_entry(
      {"gmm",
       "gaussian",
       "Gaussian mixture",
       {{"covariance", "shape of the covariances: full, tied, diag, spherical, or another of mclust's 14 names, EII to VVV",
         "full", {"full", "tied", "diag", "spherical"}, false, covariance_variants(), covariance_synonyms()},
        {"reg-covar", "added to every variance after every M-step, in the data's units squared", "1e-6"},
        {"mean-precision-prior", "as many rows at the data's mean count in every mean, as a normal prior", "0"},
        {"degrees-of-freedom-prior", "of an inverse Wishart or inverse gamma prior of the covariances; 0: none", "0"},
        {"covariance-prior",
         "scale of that prior: its diagonal in the data's units squared, one number or one for each column; data: the "
         "columns' variances over K^(2/D)",
         "data"},
        missing_option()},
       {{"covariance", "diag"}}},
      [](Index components, Index columns, const OptionValues& options, const auto& make) {
        return with_gaussian(components, columns, gaussian_options(options), make);
      });
}

}  // namespace tally
