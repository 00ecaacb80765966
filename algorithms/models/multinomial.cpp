#include "algorithms/models/multinomial.hpp"

#include <cmath>

#include "algorithms/families/family_entry.hpp"
#include "algorithms/families/multinomial.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

MultinomialOptions multinomial_options(const OptionValues& options) {
  MultinomialOptions multinomial;
  if (options.contains("trials")) {
    const double trials = number_option(options, "trials", 0);
    constexpr auto most = static_cast<double>(MultinomialFamily::most_trials);
    if (!(trials >= 1 && trials <= most && trials == std::floor(trials)))
      throw UsageError("--trials must be a whole number from 1 to " + std::to_string(MultinomialFamily::most_trials));
    multinomial.trials = static_cast<Index>(trials);
  }
  multinomial.alpha = number_option(options, "alpha", multinomial.alpha);
  return multinomial;
}

}  // namespace

FamilyEntry multinomial_entry() {
  return family_entry({"multinomial",
                       "multinomial",
                       "mixture of multinomial rows of counts, such as words of documents",
                       {{"trials", "counts of a row that `tally sample` draws", "the mean of the data's rows"},
                        {"alpha", "added to the count of every column in every M-step", "0"}}},
                      [](Index components, Index columns, const OptionValues& options, const auto& make) {
                        return make(MultinomialFamily(multinomial_options(options), components, columns),
                                    LinearKernel{{components, 1 + columns}});
                      });
}

}  // namespace tally
