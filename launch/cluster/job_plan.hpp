#pragma once
#include <string>
#include <vector>

#include "comm/partition.hpp"
#include "core/block_plan.hpp"
#include "core/hdf5_rows.hpp"
#include "core/shard.hpp"
#include "launch/cluster/cluster.hpp"
#include "launch/cluster/placement.hpp"

namespace tally {

// What a fit asks of its ranks.
struct JobShape {
  BlockPlan blocks;
  RowWork work;
  std::vector<StoredRows> stored;  // the rows in their files, in order
  Index columns = 0;
  bool weights = false;
  Index given_columns = 0;
  Shard::Options shard;       // of every rank; memory_limit 0: 70 % of its share of the memory of its domains
  Index model_bytes = 0;      // of a thread, for its work space and sums
  Index remembered_bytes = 0;  // of a row that stays in memory
  Index message_bytes = 0;    // of a rank, for messages between pieces of sequences
};

// One rank's part of the work.
struct RankShare {
  Index first_row = 0, rows = 0;
  Index blocks = 0;
  Index sequences = 0;         // that begin in it; 0 where rows are independent
  Index file_bytes = 0;        // read from files, once if the rows stay in memory
  bool streamed = false;       // read anew in every pass
  Index memory_needed = 0;     // for rows, model and messages
  Index memory_there = 0;      // its share of the memory of its domains; 0: not known
  bool shares_chunk = false;   // its first chunk is read by the rank before, too
};

struct JobPlan {
  Placement placement;
  std::vector<RankShare> shares;  // by rank
  double imbalance = 0;           // the most work of a rank over the mean, less 1
  std::vector<std::string> warnings;
};

// Who reads and holds what: a function of its arguments alone.
JobPlan plan_job(const Cluster& cluster, Placement placement, const JobShape& job);

// The plan as JSON, and as a table for people.
std::string to_json(const JobPlan& plan, const Cluster& cluster);
std::string to_table(const JobPlan& plan, const Cluster& cluster);

}  // namespace tally
