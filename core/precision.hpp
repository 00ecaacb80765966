#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace tally {

// What the tiles of a block are computed in. tf32: as single_precision, but matrix products of a device that has tensor
// cores may round what they multiply to TF32, whose unit roundoff is 2^-11; the CPU has no such products. The numbers
// are the module interface's.
enum class Precision { double_precision = 0, single_precision = 1, tf32 = 2 };

// Whether tiles hold floats.
constexpr bool in_float(Precision precision) { return precision != Precision::double_precision; }

// The words of the command and the files, in the order of the numbers.
inline const std::vector<std::string>& precision_names() {
  static const std::vector<std::string> names = {"double", "single", "tf32"};
  return names;
}
inline const std::string& name_of(Precision precision) {
  return precision_names()[static_cast<std::size_t>(precision)];
}
// Throws UsageError.
inline Precision precision_named(const std::string& name) {
  for (std::size_t i = 0; i < precision_names().size(); ++i)
    if (precision_names()[i] == name) return static_cast<Precision>(i);
  throw UsageError("there is no precision '" + name + "': double, single or tf32");
}

}  // namespace tally
