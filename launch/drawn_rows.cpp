#include "launch/drawn_rows.hpp"

#include <CLI/App.hpp>
#include <algorithm>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "comm/agreement.hpp"
#include "core/block.hpp"
#include "core/error.hpp"
#include "launch/option_checks.hpp"
#include "launch/resources.hpp"
#include "launch/row_rounds.hpp"

namespace tally {
namespace {

// Which part of what is drawn for a row a data set holds.
enum class Part { values, component };

// Writes to `out` this part of rows first, ..., first + count - 1, the rows of a block. Runs on any thread.
using DrawBlock = std::function<void(Part part, Index first, Index count, double* out)>;

RandomKey key_of(const DrawnRows& request) {
  return {static_cast<std::uint64_t>(request.options.seed), static_cast<std::uint32_t>(request.stream)};
}

BlockPlan plan_of(const DrawnRows& request) {
  return BlockPlan::uniform(request.rows, block_rows_for(request.columns));
}

DrawBlock independent_rows(const DrawnRows& request, const Sampler& sampler) {
  return [key = key_of(request), columns = request.columns, &sampler](Part part, Index first, Index count, double* out) {
    std::vector<double> values(static_cast<std::size_t>(columns));
    for (Index i = 0; i < count; ++i) {
      double* row = part == Part::values ? out + i * columns : values.data();
      const Index component = sampler(key, first + i, row);
      if (part == Part::component) out[i] = static_cast<double>(component);
    }
  };
}

// Rows of sequences. Every rank draws all states once, in order, and keeps the one before each block; then blocks are
// drawn in any order.
class RowsOfSequences {
 public:
  RowsOfSequences(const DrawnRows& request, const Sequences& sequences, const SequenceSampler& sampler,
                  const std::function<void()>& pulse)
      : key_(key_of(request)), columns_(request.columns), plan_(plan_of(request)), sequences_(sequences), sampler_(sampler) {
    Index state = 0;
    std::vector<Index> states;
    for (Index block = 0; block < plan_.block_count(); ++block) {
      before_.push_back(state);
      draw_states(block, states);
      state = states.back();
      pulse();
    }
  }

  void operator()(Part part, Index first, Index count, double* out) const {
    std::vector<Index> states;
    draw_states(plan_.block_of(first), states);
    if (part == Part::component) {
      std::copy(states.begin(), states.end(), out);
      return;
    }
    for (Index i = 0; i < count; ++i)
      sampler_.draw_values(key_, first + i, states[static_cast<std::size_t>(i)], out + i * columns_);
  }

 private:
  void draw_states(Index block, std::vector<Index>& states) const {
    const Index first = plan_.first_row(block), last = plan_.first_row(block + 1);
    states.resize(static_cast<std::size_t>(last - first));
    for (Index row = first; row < last;) {
      const Index sequence = sequences_.sequence_of(row);
      const Index end = std::min(last, sequences_.first_row(sequence + 1));
      std::optional<Index> previous;
      if (row > sequences_.first_row(sequence)) previous = before_[static_cast<std::size_t>(block)];
      sampler_.draw_states(key_, row, previous,
                           std::span(states).subspan(static_cast<std::size_t>(row - first), static_cast<std::size_t>(end - row)));
      row = end;
    }
  }

  const RandomKey key_;
  const Index columns_;
  const BlockPlan plan_;
  const Sequences& sequences_;
  const SequenceSampler& sampler_;
  std::vector<Index> before_;  // the state of the row before each block
};

void write_part(const DrawnRows& request, const DrawBlock& draw, Part part, Hdf5RowWriter* writer,
                CommandContext& context) {
  RowRounds rounds;
  rounds.plan = plan_of(request);
  rounds.row_values = part == Part::values ? request.columns : 1;
  rounds.memory = default_round_memory;
  const int threads = request.options.threads > 0 ? request.options.threads : default_threads();
  write_in_row_order<double>(
      context.communicator, rounds,
      [&](BlockRange blocks, std::span<double> out) {
        agree(context.communicator, [&] {
          for_each_block_in_parallel(threads, blocks, [&](Index block) {
            const Index first = rounds.plan.first_row(block);
            double* place = out.data() + rounds.rows_in({blocks.first, block}) * rounds.row_values;
            draw(part, first, rounds.rows_in({block, block + 1}), place);
          });
        });
      },
      [&](std::span<const double> results) {
        writer->append(results.data(), static_cast<Index>(results.size()) / rounds.row_values);
      });
}

void write_drawn(const DrawnRows& request, const DrawBlock& draw, CommandContext& context) {
  std::optional<Hdf5RowWriter> writer;
  const auto on_root = [&](const std::function<void()>& work) {
    agree(context.communicator, [&] {
      if (context.is_root()) work();
    });
  };
  on_root([&] {
    writer.emplace(context.io, request.target.file, request.target.path, request.rows, request.columns, request.type);
  });
  write_part(request, draw, Part::values, writer ? &*writer : nullptr, context);
  if (request.options.labels) {
    on_root([&] { writer->next("/labels", request.rows, 0, Hdf5RowWriter::Type::int64); });
    write_part(request, draw, Part::component, writer ? &*writer : nullptr, context);
  }
  on_root([&] { writer->finish(); });
}

}  // namespace

void add_draw_options(CLI::App& command, DrawOptions& options) {
  command.add_flag("--labels", options.labels, "Write the component (or state) of each row to /labels of the file, too");
  command.add_option("--seed", options.seed, "Seed: the same rows on any number of ranks")->capture_default_str();
  command.add_option("--threads", options.threads, "Threads of each rank (default: its processors)")
      ->check(whole_number_from(1));
}

void check(const DrawnRows& request) {
  if (request.rows < 1) throw UsageError("--rows must be at least 1");
  if (request.options.labels && request.target.path == "/labels")
    throw UsageError("--labels writes " + request.target.file + ":/labels; give the rows another path");
}

void write_drawn_rows(const DrawnRows& request, const Sampler& sampler, CommandContext& context) {
  write_drawn(request, independent_rows(request, sampler), context);
}

void write_drawn_sequences(const DrawnRows& request, const Sequences& sequences, const SequenceSampler& sampler,
                           CommandContext& context) {
  std::optional<RowsOfSequences> rows;
  agree(context.communicator,
        [&] { rows.emplace(request, sequences, sampler, [&] { context.communicator.pulse(); }); });
  write_drawn(request, [&](Part part, Index first, Index count, double* out) { (*rows)(part, first, count, out); }, context);
}

}  // namespace tally
