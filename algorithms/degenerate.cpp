#include "algorithms/degenerate.hpp"

#include "core/error.hpp"

namespace tally {

OnDegenerate parse_on_degenerate(const std::string& word) {
  for (const OnDegenerate policy :
       {OnDegenerate::floor, OnDegenerate::reseed, OnDegenerate::prune, OnDegenerate::error})
    if (word == to_string(policy)) return policy;
  throw UsageError("--on-degenerate " + word + " is unknown: floor, reseed, prune and error are there");
}

const char* to_string(OnDegenerate policy) {
  switch (policy) {
    case OnDegenerate::floor: return "floor";
    case OnDegenerate::reseed: return "reseed";
    case OnDegenerate::prune: return "prune";
    case OnDegenerate::error: return "error";
  }
  return "";
}

std::string words_of(const Degenerate& degenerate) {
  const std::string name = "component " + std::to_string(degenerate.component);
  if (degenerate.column < 0) return name + " is empty";
  return name + " collapsed in column " + std::to_string(degenerate.column);
}

}  // namespace tally
