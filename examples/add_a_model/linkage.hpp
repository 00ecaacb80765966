#pragma once
#include <memory>

#include "algorithms/registry.hpp"

namespace linkage {

// The genetic linkage model of Dempster, Laird and Rubin ("Maximum likelihood from incomplete data via the EM
// algorithm", 1977, section 1): each row holds the counts y1 ... y4 of four cells, of probabilities
// (1/2 + theta/4, (1 - theta)/4, (1 - theta)/4, theta/4). Cell 1 is the sum of two that were not told apart, of
// probabilities 1/2 and theta/4: how many of y1 belong to the second is what the E-step expects.
std::unique_ptr<tally::Model> make_linkage(tally::Index columns);
tally::ModelEntry linkage_entry();

}  // namespace linkage
