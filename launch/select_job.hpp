#pragma once
#include <string>
#include <vector>

#include "launch/context.hpp"
#include "launch/fit_inputs.hpp"
#include "launch/selection.hpp"

namespace tally {

// Everything `tally select` was asked for.
struct SelectRequest {
  FitRequest fit;  // of every model, but for what differs
  std::vector<Index> components;
  std::vector<OptionValues> shapes;  // the options that differ, each with its values; one empty one where none does
  Criterion criterion = Criterion::bic;
  std::string plot;  // SVG file; empty: none
};

// Fits every number of components in every shape, all in one reading of the rows an iteration, compares them and writes the
// best; rank 0 prints the comparison. Returns the exit status. Collective.
int run_select(const SelectRequest& request, CommandContext& context);

}  // namespace tally
