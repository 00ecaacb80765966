#pragma once
#include <limits>

#include "core/view.hpp"

namespace CLI {
class Validator;
}

namespace tally {

// What the value of an option must be, for CLI::Option::check. Unlike CLI11's own, their messages do not spell out the largest
// double.
CLI::Validator whole_number_from(Index least);
CLI::Validator number_from(double least, double most = std::numeric_limits<double>::infinity());

}  // namespace tally
