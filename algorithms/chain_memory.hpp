#pragma once
#include "algorithms/model.hpp"
#include "core/block_plan.hpp"

namespace tally {

// Bytes that a chain on the CPU takes beside the memory_bytes() of a model that has not seen its blocks; none for other
// models.
struct ChainMemory {
  Index of_lane = 0;  // the recursions of a block, in numbers of any size too where the topology may take them, and sums
  Index of_rank = 0;  // the messages of all cut sequences
};
ChainMemory chain_memory(const Model& model, const BlockPlan& plan, const BindOptions& options);

}  // namespace tally
