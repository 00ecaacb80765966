#pragma once
#include <cstdint>
#include <string>

#include "algorithms/model.hpp"
#include "core/hdf5_rows.hpp"
#include "core/random_streams.hpp"
#include "core/sequences.hpp"
#include "launch/context.hpp"

namespace tally {

// How rows are drawn, as the command line says it.
struct DrawOptions {
  bool labels = false;  // write /labels, the component of each row, too
  std::int64_t seed = 0;
  int threads = 0;  // 0: the processors of this rank
};

// --labels --seed --threads.
void add_draw_options(CLI::App& command, DrawOptions& options);

// Rows to draw from a model into a file.
struct DrawnRows {
  DatasetName target;
  Index rows = 0;
  Index columns = 0;
  Hdf5RowWriter::Type type = Hdf5RowWriter::Type::float64;
  DrawOptions options;
  RandomStream stream = RandomStream::draw;  // with the seed and a row's number it decides the row
};

// Checks what a user may get wrong. Throws UsageError.
void check(const DrawnRows& request);
// All ranks draw, rank 0 writes: the same file on any number of ranks and threads. Throws DataError. Collective.
void write_drawn_rows(const DrawnRows& request, const Sampler& sampler, CommandContext& context);
// The same for sequences that lie end to end and fill the rows; components are states.
void write_drawn_sequences(const DrawnRows& request, const Sequences& sequences, const SequenceSampler& sampler,
                           CommandContext& context);

}  // namespace tally
