#include "algorithms/models/gmm.hpp"

#include "algorithms/families/gaussian.hpp"
#include "algorithms/families/gaussian_kernels.hpp"
#include "algorithms/latent/mixture.hpp"
#include "algorithms/pair_model.hpp"

namespace tally {

std::unique_ptr<Model> make_gaussian_mixture(Index components, Index columns, const GaussianOptions& options) {
  const Mixture mixture(components);
  const GaussianFamily family(options, components, columns);
  const ExponentialKernel shape{components, family.width()};
  switch (options.covariance) {
    case Covariance::full:
      return std::make_unique<PairModel<GaussianFamily, Mixture, GaussianFullKernel>>("gmm", mixture, family,
                                                                                      GaussianFullKernel{shape});
    case Covariance::tied:
      return std::make_unique<PairModel<GaussianFamily, Mixture, GaussianTiedKernel>>(
          "gmm", mixture, family, GaussianTiedKernel{components, columns});
    case Covariance::diag:
      return std::make_unique<PairModel<GaussianFamily, Mixture, GaussianDiagKernel>>("gmm", mixture, family,
                                                                                      GaussianDiagKernel{shape});
    case Covariance::spherical:
      return std::make_unique<PairModel<GaussianFamily, Mixture, GaussianSphericalKernel>>(
          "gmm", mixture, family, GaussianSphericalKernel{shape});
  }
  return nullptr;
}

ModelEntry gmm_entry() {
  return {"gmm",
          "Gaussian mixture",
          {{"covariance", "shape of the covariances: full, tied, diag or spherical", "full",
            {"full", "tied", "diag", "spherical"}},
           {"reg-covar", "added to every variance after every M-step, in the data's units squared", "1e-6"}},
          "kmeans",
          [](Index components, Index columns, const OptionValues& options) {
            GaussianOptions gaussian;
            if (const auto found = options.find("covariance"); found != options.end())
              gaussian.covariance = parse_covariance(found->second);
            gaussian.reg_covar = number_option(options, "reg-covar", gaussian.reg_covar);
            return make_gaussian_mixture(components, columns, gaussian);
          }};
}

}  // namespace tally
