#pragma once
#include <optional>
#include <span>
#include <vector>

#include "algorithms/model.hpp"
#include "core/sequences.hpp"

namespace tally::bench {

// What each row of `x` (rows, D; the user's units) adds to a model's objective, by the textbook's double loop: the
// answer that fast results are checked against. Of hmm, given the rows before it in its sequence; `x` then begins
// with the first. Nothing for a model that it does not know.
std::optional<std::vector<double>> naive_objectives(const Model& model, std::span<const double> parameters,
                                     MatrixView<const double> x, const Sequences* sequences = nullptr);

}  // namespace tally::bench
