#include "algorithms/models/gmm.hpp"

#include "algorithms/families/family_entry.hpp"
#include "algorithms/families/gaussian.hpp"
#include "algorithms/families/gaussian_kernels.hpp"

namespace tally {
namespace {

template <class Make>
std::unique_ptr<Model> with_gaussian(Index components, Index columns, const GaussianOptions& options,
                                     const Make& make) {
  const GaussianFamily family(options, components, columns);
  const ExponentialKernel shape{components, family.width()};
  switch (family.form()) {
    case CovarianceForm::full: return make(family, GaussianFullKernel{shape});
    case CovarianceForm::tied: return make(family, GaussianTiedKernel{components, columns});
    case CovarianceForm::diag: return make(family, GaussianDiagKernel{shape});
    case CovarianceForm::spherical: return make(family, GaussianSphericalKernel{shape});
  }
  return nullptr;
}

GaussianOptions gaussian_options(const OptionValues& options) {
  GaussianOptions gaussian;
  if (const auto found = options.find("covariance"); found != options.end())
    gaussian.covariance = parse_covariance(found->second);
  gaussian.reg_covar = number_option(options, "reg-covar", gaussian.reg_covar);
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
        {"reg-covar", "added to every variance after every M-step, in the data's units squared", "1e-6"}},
       {{"covariance", "diag"}}},
      [](Index components, Index columns, const OptionValues& options, const auto& make) {
        return with_gaussian(components, columns, gaussian_options(options), make);
      });
}

}  // namespace tally
