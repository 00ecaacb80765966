#include "algorithms/models/binomial.hpp"

#include <cmath>

#include "algorithms/families/binomial.hpp"
#include "algorithms/families/family_entry.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

BinomialOptions binomial_options(const OptionValues& options) {
  BinomialOptions binomial;
  if (options.contains("trials")) {
    const double trials = number_option(options, "trials", 0);
    constexpr auto most = static_cast<double>(BinomialFamily::most_trials);
    if (!(trials >= 1 && trials <= most && trials == std::floor(trials)))
      throw UsageError("--trials must be a whole number from 1 to " + std::to_string(BinomialFamily::most_trials));
    binomial.trials = static_cast<Index>(trials);
  }
  binomial.alpha = number_option(options, "alpha", binomial.alpha);
  return binomial;
}

}  // namespace

FamilyEntry binomial_entry() {
  return family_entry(
      {"binomial",
       "binomial",
       "mixture of independent counts of successes in a number of trials",
       {{"trials", "number of trials behind each count", "the data's largest count"},
        {"alpha", "added to the counts of successes and of failures in every M-step", "0"}}},
      [](Index components, Index columns, const OptionValues& options, const auto& make) {
        const BinomialFamily family(binomial_options(options), components, columns);
        return make(family, BinomialKernel{{components, family.width()}, family.trials()});
      });
}

}  // namespace tally
