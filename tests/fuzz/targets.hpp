#pragma once
#include <cstdint>
#include <span>
#include <string_view>

namespace tally::fuzz {

// What a fuzz target does with one input: reads it as the program does. The reader may refuse it with a UsageError or a
// DataError; whatever else happens (another exception, a crash, a leak, a hang) is a finding.
using Input = std::span<const std::uint8_t>;
using Target = void (*)(Input);

void read_csv(Input text);
void read_npy(Input bytes);
// A recipe (recipe.hpp) of a file of data, of a model file and of a checkpoint.
void read_hdf5(Input recipe);
void read_model(Input recipe);
void read_checkpoint(Input recipe);
// Any bytes in place of an HDF5 file.
void read_hdf5_bytes(Input bytes);
void read_cluster(Input json);

inline std::string_view text_of(Input input) {
  return {reinterpret_cast<const char*>(input.data()), input.size()};
}

}  // namespace tally::fuzz
