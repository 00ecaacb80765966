#include "launch/drawn_rows.hpp"

#include <CLI/CLI.hpp>
#include <optional>

#include "comm/agreement.hpp"
#include "core/block.hpp"
#include "core/error.hpp"
#include "launch/resources.hpp"
#include "launch/row_rounds.hpp"

namespace tally {
namespace {

// Which part of what is drawn for a row a data set holds.
enum class Part { values, component };

void draw_block(const DrawnRows& request, const Sampler& sampler, Part part, Index first, Index count, double* out) {
  const RandomKey key{static_cast<std::uint64_t>(request.options.seed), static_cast<std::uint32_t>(request.stream)};
  std::vector<double> values(static_cast<std::size_t>(request.columns));
  for (Index i = 0; i < count; ++i) {
    double* row = part == Part::values ? out + i * request.columns : values.data();
    const Index component = sampler(key, first + i, row);
    if (part == Part::component) out[i] = static_cast<double>(component);
  }
}

void write_part(const DrawnRows& request, const Sampler& sampler, Part part, Hdf5RowWriter* writer,
                CommandContext& context) {
  RowRounds rounds;
  rounds.plan = BlockPlan::uniform(request.rows, block_rows_for(request.columns));
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
            draw_block(request, sampler, part, first, rounds.rows_in({block, block + 1}), place);
          });
        });
      },
      [&](std::span<const double> results) {
        writer->append(results.data(), static_cast<Index>(results.size()) / rounds.row_values);
      });
}

}  // namespace

void add_draw_options(CLI::App& command, DrawOptions& options) {
  command.add_flag("--labels", options.labels, "Write the component of each row to /labels of the file, too");
  command.add_option("--seed", options.seed, "Seed: the same rows on any number of ranks")->capture_default_str();
  command.add_option("--threads", options.threads, "Threads of each rank (default: its processors)")
      ->check(CLI::PositiveNumber);
}

void check(const DrawnRows& request) {
  if (request.rows < 1) throw UsageError("--rows must be at least 1");
  if (request.options.labels && request.target.path == "/labels")
    throw UsageError("--labels writes " + request.target.file + ":/labels; give the rows another path");
}

void write_drawn_rows(const DrawnRows& request, const Sampler& sampler, CommandContext& context) {
  std::optional<Hdf5RowWriter> writer;
  const auto on_root = [&](const std::function<void()>& work) {
    agree(context.communicator, [&] {
      if (context.is_root()) work();
    });
  };
  on_root([&] {
    writer.emplace(context.io, request.target.file, request.target.path, request.rows, request.columns, request.type);
  });
  write_part(request, sampler, Part::values, writer ? &*writer : nullptr, context);
  if (request.options.labels) {
    on_root([&] { writer->next("/labels", request.rows, 0, Hdf5RowWriter::Type::int64); });
    write_part(request, sampler, Part::component, writer ? &*writer : nullptr, context);
  }
  on_root([&] { writer->finish(); });
}

}  // namespace tally
