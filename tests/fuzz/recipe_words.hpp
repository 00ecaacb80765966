#pragma once
#include <string_view>
#include <vector>

#include "core/hdf5_handle.hpp"

namespace tally::fuzz {

using Words = std::vector<std::string_view>;
Words split(std::string_view line, char separator);

// What the words of a recipe for a type and a shape mean. A type that is none of those known is opaque.
Hdf5Handle type_of(std::string_view word);
Hdf5Handle space_of(std::string_view word);
std::vector<hsize_t> shape_of(std::string_view word);

}  // namespace tally::fuzz
