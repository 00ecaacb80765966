#include "algorithms/models/student_t.hpp"

#include "algorithms/families/family_entry.hpp"
#include "algorithms/families/student_t.hpp"

namespace tally {
namespace {

template <class Make>
std::unique_ptr<Model> with_student_t(Index components, Index columns, const StudentTOptions& options, const Make& make) {
  const StudentTFamily family(options, components, columns);
  const ExponentialKernel shape{components, family.coefficient_stride() - 2};
  switch (form_of(options.gaussian.covariance)) {
    case CovarianceForm::full: return make(family, StudentTKernel<GaussianFullKernel>{{shape}, columns});
    case CovarianceForm::diag: return make(family, StudentTKernel<GaussianDiagKernel>{{shape}, columns});
    case CovarianceForm::spherical: return make(family, StudentTKernel<GaussianSphericalKernel>{{shape}, columns});
    case CovarianceForm::tied: break;  // which the family refuses
  }
  return nullptr;
}

}  // namespace

FamilyEntry student_t_entry() {
  return family_entry(
      {"student-t",
       "student-t",
       "mixture of Student t components: clusters with heavy tails",
       {{"covariance", "shape of the scale matrices: full, diag or spherical", "full", {"full", "diag", "spherical"}},
        {"reg-covar", "added to every diagonal of the scales after every M-step, in the data's units squared", "1e-6"},
        {"max-degrees", "most degrees of freedom of a component", "1e6"}},
       {{"covariance", "diag"}}},
      [](Index components, Index columns, const OptionValues& options, const auto& make) {
        StudentTOptions own;
        if (const auto found = options.find("covariance"); found != options.end())
          own.gaussian.covariance = parse_covariance(found->second);
        own.gaussian.reg_covar = number_option(options, "reg-covar", own.gaussian.reg_covar);
        own.max_degrees = number_option(options, "max-degrees", own.max_degrees);
        return with_student_t(components, columns, own, make);
      });
}

}  // namespace tally
