#pragma once
#include <string>

#include "algorithms/model.hpp"
#include "launch/model_file.hpp"
#include "launch/progress.hpp"

namespace tally {

// Throws UsageError where the policy means nothing for this model.
void check_on_degenerate(const Model& model, OnDegenerate policy);
// What was done about a component.
struct Repair {
  int model = 0, candidate = 0, iteration = 0;
  Degenerate degenerate;
  OnDegenerate policy = OnDegenerate::floor;
  std::string whose;  // "start 2: ", where there are several
};
// Tells who watches, and the log.
void tell(Progress& progress, const Repair& repair);
// Takes components without weight out of a record of a mixture.
void drop_pruned(const Model& model, ModelRecord& record);

}  // namespace tally
