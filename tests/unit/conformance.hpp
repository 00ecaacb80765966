#pragma once
#include <bit>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "algorithms/em_fit.hpp"
#include "algorithms/em_scan.hpp"
#include "algorithms/em_start.hpp"
#include "algorithms/registry.hpp"
#include "comm/partition.hpp"
#include "comm/thread_world.hpp"
#include "core/memory_rows.hpp"
#include "core/philox.hpp"
#include "core/sequences.hpp"
#include "tests/unit/failing_rows.hpp"

namespace tally {

// Rows that a test owns, with a weight each or none.
struct Table {
  Index columns = 1;
  std::vector<double> values;   // (rows, columns)
  std::vector<double> weights;  // (rows) or empty
  Index steps = 25;             // of each sequence, where a model takes rows as such
  Index rows() const { return static_cast<Index>(values.size()) / columns; }
  MatrixView<const double> matrix() const { return {values.data(), rows(), columns}; }
};

// A communicator that passes everything on and counts it.
class CountingCommunicator final : public Communicator {
 public:
  explicit CountingCommunicator(Communicator& inner) : inner_(inner) {}
  int sums = 0, sums_and_maxima = 0, others = 0;

  int rank() const noexcept override { return inner_.rank(); }
  int size() const noexcept override { return inner_.size(); }
  int node_rank() const noexcept override { return inner_.node_rank(); }
  const std::string& host_name() const noexcept override { return inner_.host_name(); }
  void sum(std::span<std::int64_t> values) override {
    ++sums;
    inner_.sum(values);
  }
  void sum(std::span<double> values) override {
    ++others;
    inner_.sum(values);
  }
  void sum_and_max(std::span<std::int64_t> added, std::span<std::int64_t> maxima) override {
    ++sums_and_maxima;
    inner_.sum_and_max(added, maxima);
  }
  void broadcast(std::span<std::byte> bytes, int root) override {
    ++others;
    inner_.broadcast(bytes, root);
  }
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes) override {
    ++others;
    return inner_.gather(bytes);
  }
  void barrier() override {
    ++others;
    inner_.barrier();
  }
  void wait_until(const char* name, const std::function<CollectiveState()>& look) override {
    ++others;
    inner_.wait_until(name, look);
  }
  void give_up(ErrorKind kind, const std::string& message) noexcept override { inner_.give_up(kind, message); }
  void pulse() override { inner_.pulse(); }

 private:
  Communicator& inner_;
};

// A model under test: how it is made, and in which precision it computes.
struct ModelCase {
  std::string name;
  std::function<std::unique_ptr<Model>(Index components, Index columns)> make;
  Precision precision = Precision::double_precision;
  Index components = 3;
  Index steps = 25;  // of each sequence, where it takes rows as such
};

// Where and how the work is cut: nothing of it may change a bit.
struct Cut {
  int ranks = 1;
  int threads = 1;
  bool streamed = false;
};

struct FitPlan {
  Index components = 0;  // 0: the case's
  Index block_rows = 64;
  int restarts = 1;
  int first_restart = 0;
  FitOptions options = {.max_iterations = 6, .tolerance = 0};
  std::optional<FitState> from;      // go on from here
  int stop_after = -1;               // the last rank asks to stop before this M-step's sum
  // Between start and fit, on every rank.
  std::function<void(int rank, FitState&, DataSummary&)> alter;
  int unreadable_on_rank = -1;       // this rank fails to read `bad_row` in pass `reads_allowed`
  Index bad_row = -1;
  int reads_allowed = 0;
};

struct Fitted {
  FitState state;
  FitOutcome outcome;
  DataSummary summary;
  NamedArrays described;  // of the best candidate
  int sums = 0, sums_and_maxima = 0, other_collectives = 0;

  const Candidate& best() const { return state.candidates[static_cast<std::size_t>(outcome.best)]; }
};

// Every number of a state as bits: parameters, traces, exponents, reasons.
inline std::vector<std::uint64_t> bits_of(const FitState& state) {
  std::vector<std::uint64_t> bits;
  for (const Candidate& candidate : state.candidates) {
    for (const double value : candidate.parameters) bits.push_back(std::bit_cast<std::uint64_t>(value));
    for (const double value : candidate.trace) bits.push_back(std::bit_cast<std::uint64_t>(value));
    bits.push_back(static_cast<std::uint64_t>(candidate.reason));
    bits.push_back(static_cast<std::uint64_t>(candidate.m_steps));
  }
  for (const int exponent : state.exponents) bits.push_back(static_cast<std::uint64_t>(exponent));
  return bits;
}

class StopAfter final : public FitObserver {
 public:
  StopAfter(int m_steps, bool asks) : m_steps_(m_steps), asks_(asks) {}
  void advanced(std::span<const FitTask> tasks, bool) override { done_ = tasks[0].state->iteration; }
  bool stop_requested() override { return asks_ && m_steps_ >= 0 && done_ + 1 >= m_steps_; }

 private:
  int m_steps_;
  bool asks_;
  int done_ = 0;
};

// Sequences where the model takes such, the last one shorter; those of more steps than a block has rows are cut.
inline BlockPlan blocks_of(const Table& table, const Model& model, Index block_rows) {
  if (!model.sequence_cut()) return BlockPlan::uniform(table.rows(), block_rows);
  std::vector<Index> lengths(static_cast<std::size_t>(table.rows() / table.steps), table.steps);
  if (table.rows() % table.steps > 0) lengths.push_back(table.rows() % table.steps);
  return BlockPlan::of_sequences(std::make_shared<const Sequences>(Sequences::of_lengths(lengths)), block_rows, block_rows);
}

// One rank's way from rows to a fitted state, as the command goes it. Collective.
inline Fitted fit_on_rank(const ModelCase& model_case, const Table& table, const Cut& cut, const FitPlan& plan,
                          Communicator& world) {
  CountingCommunicator communicator(world);
  IoExecutor io;
  const MemoryRows memory(table.matrix(), "x");
  const bool unreadable = plan.unreadable_on_rank == communicator.rank();
  const FailingRows rows(memory, unreadable ? plan.bad_row : -1, plan.reads_allowed);
  const MemoryRows weights({table.weights.data(), table.rows(), 1}, "w");
  const Index components = plan.components > 0 ? plan.components : model_case.components;
  const auto model = model_case.make(components, table.columns);
  const BlockPlan blocks = blocks_of(table, *model, plan.block_rows);
  const BlockRange range = blocks_of_rank(blocks, communicator.rank(), communicator.size());
  Shard::Options options;
  options.memory_limit = cut.streamed ? 1 : 0;
  options.precision = model_case.precision;
  options.lanes = cut.threads;
  Shard shard(io, Inputs{&rows, table.weights.empty() ? nullptr : &weights, nullptr}, blocks,
              ShardRange{range.first, range.last}, options);

  const Scan seen = scan(shard, model->domain(), sample_size(table.rows(), table.columns, components), 1,
                         communicator);
  model->set_standardisation(standardise_for(model->scaling(), seen.summary));
  shard.prepare({model->standardisation(), model->log_base_measure()}, [] {});

  Fitted fitted;
  fitted.summary = seen.summary;
  if (plan.from) {
    fitted.state = *plan.from;
  } else {
    StartOptions start;
    start.start = SampleStart::random_from_data;
    start.seed = 5;
    for (int r = 0; r < plan.restarts; ++r) {
      start.restart = plan.first_restart + r;
      fitted.state.candidates.emplace_back().parameters = start_from_sample(*model, seen, start, io);
    }
  }
  if (plan.alter) plan.alter(communicator.rank(), fitted.state, fitted.summary);
  FitOptions fit_options = plan.options;
  fit_options.precision = model_case.precision;
  StopAfter observer(plan.stop_after, communicator.rank() + 1 == communicator.size());
  fitted.outcome = fit(*model, shard, fitted.summary, fitted.state, fit_options, communicator, observer);
  fitted.described = model->describe(fitted.best().parameters);
  fitted.sums = communicator.sums;
  fitted.sums_and_maxima = communicator.sums_and_maxima;
  fitted.other_collectives = communicator.others;
  return fitted;
}

// Fits in a world of threads, expects the same bits on every rank, and gives rank 0's.
inline Fitted fit_in_world(const ModelCase& model_case, const Table& table, const Cut& cut, const FitPlan& plan) {
  std::vector<Fitted> of_ranks(static_cast<std::size_t>(cut.ranks));
  run_in_threads(cut.ranks, [&](Communicator& world) {
    of_ranks[static_cast<std::size_t>(world.rank())] = fit_on_rank(model_case, table, cut, plan, world);
  });
  for (const Fitted& fitted : of_ranks) EXPECT_EQ(bits_of(fitted.state), bits_of(of_ranks.front().state));
  return of_ranks.front();
}

// What each rank throws when it fits: its kind and message; empty where it throws nothing.
struct RankError {
  ErrorKind kind = ErrorKind::other;
  std::string message;
};
inline std::vector<RankError> errors_of_ranks(const ModelCase& model_case, const Table& table, const Cut& cut,
                                              const FitPlan& plan) {
  std::vector<RankError> errors(static_cast<std::size_t>(cut.ranks));
  run_in_threads(cut.ranks, [&](Communicator& world) {
    try {
      fit_on_rank(model_case, table, cut, plan, world);
    } catch (const Error& error) {
      errors[static_cast<std::size_t>(world.rank())] = {error.kind(), error.what()};
    }
  });
  return errors;
}

}  // namespace tally
