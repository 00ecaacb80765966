#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/block.hpp"
#include "core/block_plan.hpp"
#include "core/io_executor.hpp"
#include "core/rows.hpp"
#include "core/standardisation.hpp"

namespace tally {

// Which rows a shard takes for missing, where its model takes any.
inline constexpr const char* missing_row_words = "a row of a sequence is missing only if all its values are NaN";

// What a fit reads: rows, and optionally a weight (rows, 1) and known labels or responsibilities for each of them.
struct Inputs {
  const RowSource* rows = nullptr;
  const RowSource* weights = nullptr;
  const RowSource* given = nullptr;
};

// The blocks [first, last) that one rank works on.
struct ShardRange {
  Index first_block = 0;
  Index last_block = 0;
  Index block_count() const noexcept { return last_block - first_block; }
};

// One block as it lies in memory: raw doubles, or standardised rows of a resident shard.
struct StoredBlock {
  Index number = 0;     // in the plan
  Index first_row = 0;  // global
  Index rows = 0;
  const double* raw = nullptr;            // (rows, D) in the user's units, or null: standardised
  const double* standardised = nullptr;   // (rows, D), precision double
  const float* standardised_single = nullptr;
  const double* weights = nullptr;        // (rows) or null
  const double* offsets = nullptr;        // (rows) or null; raw blocks have none
  const double* given = nullptr;          // (rows, given columns) or null
  const unsigned char* missing = nullptr; // (rows), 1: not observed, zeros stand in its place; null: none is
};

// How a model turns rows in the user's units into what it computes on.
struct Preparation {
  Standardisation standardisation;
  // log h(x) of one raw row (D), or null where it is 0.
  std::function<double(const double*)> log_base_measure;
};

// A rank's rows: held in memory where they fit (each is read once), streamed through a ring of buffers otherwise.
// Lanes take blocks as they come; no result may depend on which lane gets which.
class Shard {
 public:
  struct Options {
    Index memory_limit = 0;  // bytes for rows; 0: everything stays in memory
    Precision precision = Precision::double_precision;
    int lanes = 1;
    bool takes_missing = false;  // rows of NaN alone are missing: they arrive as zeros, and marked
  };
  Shard(IoExecutor& io, Inputs inputs, BlockPlan plan, ShardRange range, Options options);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  Index columns() const noexcept { return columns_; }
  Index given_columns() const noexcept { return inputs_.given ? inputs_.given->columns() : 0; }
  const BlockPlan& plan() const noexcept { return plan_; }
  Index total_rows() const noexcept { return plan_.total_rows(); }
  Index first_block() const noexcept { return range_.first_block; }
  Index first_row() const { return plan_.first_row(range_.first_block); }
  Index local_rows() const noexcept { return local_rows_; }
  Index block_count() const noexcept { return range_.block_count(); }
  int lanes() const noexcept { return options_.lanes; }
  bool resident() const noexcept { return resident_; }
  // Whether its rows stay in memory, with so many bytes more for each.
  bool resident_with(Index bytes_more) const;
  // Seconds that lanes have waited for rows from the files so far, their mean.
  double read_seconds() const noexcept { return 1e-9 * static_cast<double>(waited_.load()) / options_.lanes; }
  bool takes_missing() const noexcept { return options_.takes_missing; }
  Precision precision() const noexcept { return options_.precision; }
  const Inputs& inputs() const noexcept { return inputs_; }
  const std::optional<Preparation>& preparation() const noexcept { return preparation_; }
  // Bytes of rows and buffers that this shard holds or would hold at its peak.
  static Index resident_bytes(Index rows, Index columns, bool weights, Index given_columns, const Options& options);
  static Index streaming_bytes(Index most_block_rows, Index columns, bool weights, Index given_columns,
                               const Options& options);

  using Visit = std::function<void(int lane, const StoredBlock&)>;
  using Pulse = std::function<void()>;
  // Calls visit(lane, block) for every block, lanes in parallel, `pulse` on the calling thread whenever blocks were
  // finished. The first exception of a lane or of a read stops the rest and is thrown here.
  void for_each_block(const Visit& visit, const Pulse& pulse);
  // The same for these blocks alone, numbered from the shard's first.
  void for_each_block(std::span<const Index> blocks, const Visit& visit, const Pulse& pulse);
  // Whether a lane has thrown in the visit that goes on: for lanes that wait for each other.
  bool stopping() const noexcept { return stopping_.load(); }
  // From now on resident rows are kept standardised, with their offsets; streamed rows stay raw.
  void prepare(Preparation preparation, const Pulse& pulse);
  // Drops what was given for the first M-step.
  void forget_given();

 private:
  struct Buffer;
  StoredBlock resident_block(Index local_block) const;
  void read_into(Buffer& buffer, Index local_block) const;
  // Where a block lies, without what it holds.
  StoredBlock place_of(Index local_block) const;
  void load(const Visit& visit, const Pulse& pulse);
  void run_lanes(const std::function<void(int)>& body, std::atomic<Index>& finished, const Pulse& pulse);

  IoExecutor& io_;
  Inputs inputs_;
  BlockPlan plan_;
  ShardRange range_;
  Index columns_, local_rows_;
  Options options_;
  bool resident_ = false;
  bool loaded_ = false;
  std::atomic<bool> stopping_ = false;
  std::atomic<std::int64_t> waited_ = 0;  // of all lanes, nanoseconds
  std::optional<Preparation> preparation_;
  std::unique_ptr<double[]> values_;        // resident rows (local_rows, D)
  std::unique_ptr<float[]> single_values_;  // the same, standardised, in single precision
  std::vector<double> weights_, offsets_, given_;
  std::vector<unsigned char> missing_;      // (local_rows), where missing rows are taken
};

}  // namespace tally
