// Fits a hidden Markov model to counts in sequences and finds the likeliest states behind them.
//   fit_hmm                                    earthquakes, from memory
//   fit_hmm data.h5:/x [data.h5:/lengths]      from a file, one sequence or several end to end
//   mpirun -n 4 fit_hmm ...                    the same bits on four ranks
#include <mpi.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <iostream>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "algorithms/em_exchange.hpp"
#include "algorithms/em_fit.hpp"
#include "algorithms/em_scan.hpp"
#include "algorithms/em_start.hpp"
#include "algorithms/registry.hpp"
#include "comm/mpi_communicator.hpp"
#include "comm/mpi_session.hpp"
#include "comm/partition.hpp"
#include "comm/share.hpp"
#include "core/block_plan.hpp"
#include "core/hdf5_rows.hpp"
#include "core/memory_rows.hpp"
#include "core/sequences.hpp"

using namespace tally;

namespace {

constexpr Index states = 2;
constexpr int threads = 2;

// Great earthquakes of each year from 1900 to 2006: W. Zucchini, I. L. MacDonald, R. Langrock, Hidden Markov Models for
// Time Series, 2016.
const std::vector<double> earthquakes = {
    13, 14, 8,  10, 16, 26, 32, 27, 18, 32, 36, 24, 22, 23, 22, 18, 25, 21, 21, 14, 8,  11, 14, 23, 18, 17, 19,
    20, 22, 19, 13, 26, 13, 14, 22, 24, 21, 22, 26, 21, 23, 24, 27, 41, 31, 27, 35, 26, 28, 36, 39, 21, 17, 22,
    17, 19, 15, 34, 10, 15, 22, 18, 15, 20, 15, 22, 19, 16, 30, 27, 29, 23, 20, 16, 21, 21, 25, 16, 18, 15, 18,
    14, 10, 15, 8,  15, 6,  11, 8,  7,  18, 16, 13, 12, 13, 20, 15, 16, 12, 18, 15, 16, 13, 15, 16, 11, 11};

struct Result {
  double log_likelihood = 0;
  NamedArrays parameters;               // startprob, transmat, rates
  std::vector<std::int64_t> path;       // the state at each row, of all sequences
  std::vector<double> log_probability;  // of each sequence together with its path
};

// Every rank calls this, each on its part of the sequences, and all have the same result.
Result fit_and_decode(const RowSource& rows, const std::shared_ptr<const Sequences>& sequences, IoExecutor& io,
                      Communicator& world) {
  Registry registry;
  add_builtin_models(registry);
  const std::unique_ptr<Model> model =
      registry.find("hmm").make(states, rows.columns(), {{"emission", "poisson"}, {"startprob", "stationary"}});

  // Blocks of whole short sequences and of pieces of long ones, the same on any number of ranks.
  const SequenceCut cut = *model->sequence_cut();
  const BlockPlan plan = BlockPlan::of_sequences(sequences, cut.piece_steps, cut.block_rows);
  const BlockRange mine = blocks_of_rank(plan, world.rank(), world.size(), {cut.whole_work, cut.cut_work});
  Shard::Options options;
  options.lanes = threads;
  options.takes_missing = model->takes_missing();
  Shard shard(io, {&rows, nullptr, nullptr}, plan, {mine.first, mine.last}, options);
  const auto pulse = [&world] { world.pulse(); };

  const Scan seen = scan(shard, model->domain(), sample_size(rows.rows(), rows.columns(), states), 1, world);
  model->set_standardisation(standardise_for(model->scaling(), seen.summary));
  shard.prepare({model->standardisation(), model->log_base_measure()}, pulse);

  FitState state;
  state.candidates.resize(1);
  state.candidates[0].parameters = start_from_sample(*model, seen, {.seed = 1, .lanes = threads}, io);
  FitObserver nobody;
  fit(*model, shard, seen.summary, state, {.max_iterations = 1000, .tolerance = 1e-10}, world, nobody);
  const Candidate& fitted = state.candidates[0];

  Result result{fitted.trace.back(), model->describe(fitted.parameters), {}, {}};
  result.path.resize(static_cast<std::size_t>(rows.rows()));
  result.log_probability.resize(static_cast<std::size_t>(sequences->count()));
  const auto bound = model->bind({.lanes = threads});
  bound->prepare(0, fitted.parameters);
  RankExchange exchange(shard, world);
  bound->decode(
      shard, exchange,
      [&](Index first_row, std::span<const std::int32_t> part, Index) {
        std::ranges::copy(part, result.path.begin() + first_row);
      },
      [&](Index sequence, double value) {
        const auto steps = static_cast<double>(sequences->length(sequence));
        result.log_probability[static_cast<std::size_t>(sequence)] = model->objective_in_user_units(value, steps);
      },
      pulse);
  exchange.rethrow();
  world.sum(result.path);  // what this rank does not know is 0
  share(world, result.log_probability);
  return result;
}

std::shared_ptr<const Sequences> read_sequences(const std::string& place, IoExecutor& io) {
  const Hdf5Rows source(io, {place});
  std::vector<double> values(static_cast<std::size_t>(source.rows()));
  source.read(0, source.rows(), values.data());
  return std::make_shared<const Sequences>(Sequences::of_lengths({values.begin(), values.end()}));
}

void print(const Result& result, const Sequences& sequences) {
  std::cout.precision(8);
  std::cout << "log-likelihood " << result.log_likelihood << '\n';
  for (const auto& [name, array] : result.parameters) {
    std::cout << name;
    for (const double value : array.values) std::cout << ' ' << value;
    std::cout << '\n';
  }
  for (Index s = 0; s < sequences.count(); ++s) {
    std::cout << "path of probability e^" << result.log_probability[static_cast<std::size_t>(s)] << ": ";
    for (Index row = sequences.first_row(s); row < sequences.first_row(s + 1); ++row)
      std::cout << result.path[static_cast<std::size_t>(row)];
    std::cout << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  MpiSession session;  // a program of one process needs none, and a SingleProcess in place of the communicator
  try {
    MpiCommunicator world(MPI_COMM_WORLD);
    IoExecutor io;
    std::unique_ptr<RowSource> rows;
    if (argc > 1)
      rows = std::make_unique<Hdf5Rows>(io, std::vector<std::string>{argv[1]});
    else
      rows = std::make_unique<MemoryRows>(
          MatrixView<const double>(earthquakes.data(), static_cast<Index>(earthquakes.size()), 1));
    const auto sequences =
        argc > 2 ? read_sequences(argv[2], io) : std::make_shared<const Sequences>(Sequences::one(rows->rows()));

    const Result result = fit_and_decode(*rows, sequences, io, world);

    if (world.rank() == 0) print(result, *sequences);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "fit_hmm: " << error.what() << '\n';
    session.abort(1);
  }
}
