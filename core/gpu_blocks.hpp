#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

#include "core/block.hpp"

namespace tally {

// Rows of a block that a GPU computes: up to 32 blocks of the CPU's, so that a launch has enough to do, and 2^22 values,
// which host buffers must hold.
constexpr Index gpu_block_rows_for(Index columns) {
  const Index rows = block_rows_for(columns), values = Index{1} << 22;
  const auto fitting = static_cast<std::uint64_t>(std::max<Index>(values / (rows * columns), 1));
  return rows * std::min<Index>(static_cast<Index>(std::bit_floor(fitting)), 32);
}

}  // namespace tally
