#include "algorithms/models/categorical.hpp"

#include <cmath>

#include "algorithms/families/family_entry.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

template <class Make>
std::unique_ptr<Model> with_categorical(Index components, Index columns, const CategoricalOptions& options,
                                        const Make& make) {
  return make(CategoricalFamily(options, components, columns),
              CategoricalKernel{components, columns, options.symbols});
}

CategoricalOptions categorical_options(const OptionValues& options) {
  CategoricalOptions categorical;
  if (options.contains("symbols")) {
    const double symbols = number_option(options, "symbols", 0);
    constexpr auto most = static_cast<double>(CategoricalFamily::most_symbols);
    if (!(symbols >= 1 && symbols <= most && symbols == std::floor(symbols)))
      throw UsageError("--symbols must be a whole number from 1 to " + std::to_string(CategoricalFamily::most_symbols));
    categorical.symbols = static_cast<Index>(symbols);
  }
  categorical.alpha = number_option(options, "alpha", categorical.alpha);
  return categorical;
}

}  // namespace

std::unique_ptr<Model> make_categorical_mixture(Index components, Index columns, const CategoricalOptions& options) {
  return with_categorical(components, columns, options, MakeMixture{"categorical"});
}

FamilyEntry categorical_entry() {
  return family_entry({"categorical",
                       "categorical",
                       "mixture of independent columns of symbols 0, 1, 2, ...",
                       {{"symbols", "number of symbols", "the data's largest + 1"},
                        {"alpha", "added to the count of every symbol in every M-step", "0"}}},
                      [](Index components, Index columns, const OptionValues& options, const auto& make) {
                        return with_categorical(components, columns, categorical_options(options), make);
                      });
}

}  // namespace tally
