#pragma once
#include <string>

#include "algorithms/model.hpp"
#include "launch/model_file.hpp"

namespace tally {

// Throws UsageError where the policy means nothing for this model.
void check_on_degenerate(const Model& model, OnDegenerate policy);
// What was done about a component, for who watches.
std::string words_of_repair(const Degenerate& degenerate, int iteration, OnDegenerate policy);
// Takes components without weight out of a record of a mixture.
void drop_pruned(const Model& model, ModelRecord& record);

}  // namespace tally
