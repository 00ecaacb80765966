#pragma once
#include <cstddef>
#include <string_view>
#include <vector>

namespace tally::fuzz {

// An HDF5 file behind a user block with its length and checksum, as Tally writes models and checkpoints, and then what
// these lines of a recipe do to it: "damage POSITION VALUE" sets a byte, "cut BYTES" takes some off the end.
std::vector<std::byte> sealed_file(const std::vector<std::byte>& hdf5, std::string_view recipe);

}  // namespace tally::fuzz
