#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "algorithms/block_by_block.hpp"
#include "algorithms/em_exchange.hpp"
#include "algorithms/em_fit.hpp"
#include "algorithms/tally.hpp"

namespace tally {

// One model's part of a pass over the rows: its candidates, what their statistics are summed in and on which grids.
class PassPart {
 public:
  // `exponents`: of the grids; empty: from the bounds.
  PassPart(const Model& model, const Shard& shard, const DataSummary& summary, int candidates,
           const FitOptions& options, std::vector<int> exponents);

  // What the next pass computes: these candidates, by these parameters, which must outlive it.
  void run(std::vector<int> candidates, std::vector<const std::vector<double>*> parameters) {
    running_ = std::move(candidates);
    parameters_ = std::move(parameters);
  }
  const std::vector<int>& running() const noexcept { return running_; }
  const std::vector<int>& exponents() const noexcept { return exponents_; }
  const Tally& tally() const noexcept { return tally_; }
  // Of a candidate, after a pass.
  std::vector<double> statistics(int candidate) const;

 private:
  friend class Pass;

  void bind(const FitOptions& options, int lanes);
  void prepare();
  void begin_blocks(const Shard& shard);
  void widen_grids(Communicator& communicator);
  // Null where this model takes all its blocks in one call alone.
  BlockByBlock* block_by_block() const noexcept { return block_by_block_; }

  const Model& model_;
  int candidates_;
  Index blocks_;
  std::vector<int> exponents_;
  Tally tally_;
  Preparation preparation_;
  std::unique_ptr<BoundModel> bound_;
  BlockByBlock* block_by_block_ = nullptr;
  std::vector<int> running_;
  std::vector<const std::vector<double>*> parameters_;
};

// Some of a shard's blocks, counted from its first, and the candidates that they are for.
struct BlockGroup {
  std::vector<Index> blocks;
  std::vector<int> candidates;
};

// A pass over the rows and its one sum over ranks, for one model or several: several are fitted on the CPU, and where their
// rows are independent one reading serves all of them.
class Pass {
 public:
  // `parts` must outlive this. Collective.
  Pass(std::span<PassPart> parts, Shard& shard, const FitOptions& options, Communicator& communicator);

  // One pass, repeated with wider grids where a value did not fit. Parts without running candidates are left out. Over groups of
  // blocks, where there are any, instead of all: of one model on the CPU, whose rows are independent.
  void run(PassKind kind, bool stop_requested, std::span<const BlockGroup> groups = {});
  // Whether any rank wished to stop before the last sum.
  bool stopping() const noexcept { return stopping_; }
  // Where the time of the last pass went.
  void report_times(IterationReport& report) const;
  // Which row the last pass found impossible under a candidate, for an error message; "some row" where that is not known.
  // Collective.
  std::string impossible_row(const PassPart& part, int candidate);

 private:
  void accumulate(std::span<PassPart* const> parts, PassKind kind);
  void remember_rows(std::span<PassPart* const> parts) const;
  void accumulate_groups(PassPart& part, PassKind kind, std::span<const BlockGroup> groups);
  void sum_over_ranks(std::span<PassPart* const> parts);
  void sum_joined(std::span<PassPart* const> parts);
  void check_hash(const Tally& tally, std::uint64_t hash);
  [[noreturn]] void name_the_odd_host(std::uint64_t hash);

  std::span<PassPart> parts_;
  Shard& shard_;
  Communicator& communicator_;
  Summation summation_;
  bool remembers_;
  RankExchange exchange_;
  std::vector<std::int64_t> joined_;  // the buffers of several parts, end to end
  bool stopping_ = false;
  double pass_seconds_ = 0, read_seconds_ = 0, reduce_seconds_ = 0, processor_seconds_ = 0;
};

}  // namespace tally
