#pragma once
#include <cstdint>

namespace tally {

// The streams of one seed: what each random number is for.
enum class RandomStream : std::uint32_t { sample_rows = 1, initialise = 2, draw = 3, generate = 4, held_out = 5, batches = 6, batch_cuts = 7 };

}  // namespace tally
