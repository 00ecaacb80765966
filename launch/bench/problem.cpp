#include "launch/bench/problem.hpp"

#include <algorithm>
#include <utility>

#include "algorithms/bound_device_model.hpp"
#include "algorithms/em_exchange.hpp"
#include "algorithms/em_start.hpp"
#include "comm/agreement.hpp"
#include "core/archive.hpp"
#include "core/error.hpp"
#include "core/hdf5_rows.hpp"
#include "launch/bench/naive.hpp"
#include "launch/sequence_inputs.hpp"

namespace tally::bench {
namespace {

constexpr Index rows_checked = 500;  // by the double loop

}  // namespace

std::unique_ptr<Model> Workload::make(OptionValues from_data) const {
  OptionValues all = options;
  all.merge(from_data);
  return model->make(components, columns, all);
}

Problem::Problem(const Workload& workload, const RowSource& rows, const Setting& setting)
    : workload_(workload), rows_(rows), setting_(setting), model_(workload.make()) {
  Communicator& communicator = setting.communicator;
  const BlockPlan plan =
      plan_for(*model_, workload.sequences, workload.rows, setting.device.block_rows(workload.columns));
  const BlockRange range = blocks_of_rank(plan, communicator.rank(), communicator.size(), work_of(*model_));
  Shard::Options options;
  options.lanes = setting.lanes;
  options.precision = workload.precision;
  options.takes_missing = model_->takes_missing();
  shard_ = std::make_unique<Shard>(setting.io, Inputs{&rows, nullptr, nullptr}, plan,
                                   ShardRange{range.first, range.last}, options);
  scan_ = scan(*shard_, model_->domain(), sample_size(workload.rows, workload.columns, workload.components),
               workload.seed, communicator);
  model_ = workload.make(model_->options_from(scan_.summary));
  model_->set_standardisation(standardise_for(model_->scaling(), scan_.summary));
  agree(communicator, [&] {
    shard_->prepare({model_->standardisation(), model_->log_base_measure()}, [&] { communicator.pulse(); });
  });
}

void Problem::start_from_rows() {
  if (workload_.model->default_init.empty()) {
    start_.resize(static_cast<std::size_t>(model_->parameters().size()));
    model_->set_defaults(start_);
    return;
  }
  StartOptions options;
  options.start = SampleStart::random_from_data;
  options.seed = workload_.seed;
  options.lanes = setting_.lanes;
  start_ = start_from_sample(*model_, scan_, options, setting_.io);
}

void Problem::start_from_file(const std::string& place) {
  agree(setting_.communicator, [&] {
    const DatasetName name = parse_dataset_name(place);
    const ArchiveReader archive(setting_.io, name.file);
    NamedArrays arrays;
    for (const std::string& array : archive.list(name.path))
      arrays[array] = archive.get(name.path + "/" + array);
    start_.resize(static_cast<std::size_t>(model_->parameters().size()));
    model_->set_defaults(start_);
    model_->read(arrays, start_);
  });
}

Candidate Problem::run(int iterations, Summation summation, FitObserver& observer) {
  FitState state;
  state.candidates.resize(1);
  state.candidates[0].parameters = start_;
  FitOptions options;
  options.max_iterations = iterations;
  options.tolerance = 0;
  options.precision = workload_.precision;
  options.summation = summation;
  options.device = setting_.device.device.get();
  options.remembers = false;  // every iteration does all of its work
  fit(*model_, *shard_, scan_.summary, state, options, setting_.communicator, observer);
  return std::move(state.candidates[0]);
}

std::vector<double> Problem::row_objectives(const std::vector<double>& parameters) {
  const auto bound = bind_model(
      *model_, {workload_.precision, setting_.lanes, 1, Summation::exact, setting_.device.device.get()});
  bound->prepare(0, parameters);
  const int first_candidate[] = {0};
  RankExchange exchange(*shard_, setting_.communicator);
  bound->exchange_messages(*shard_, first_candidate, PassKind::evaluation, exchange, [] {});
  exchange.rethrow();
  std::vector<double> objectives(static_cast<std::size_t>(shard_->local_rows()));
  const Index first_here = shard_->block_count() > 0 ? shard_->first_row() : 0;
  BoundModel::Wanted wanted;
  wanted.objectives = true;
  bound->evaluate(
      *shard_, wanted,
      [&](Index first, Index count, const RowResults& results) {
        for (Index i = 0; i < count; ++i)
          objectives[static_cast<std::size_t>(first - first_here + i)] =
              model_->objective_in_user_units(results.objectives[i], 1);
      },
      [] {});
  return objectives;
}

Tolerances Problem::tolerances() const {
  const bool single = in_float(workload_.precision);
  // Of mixtures on tensor cores: k-means and the CPU are as exact as in single.
  if (workload_.precision == Precision::tf32 && model_->name() != "kmeans" && setting_.device.device)
    return {5e-2, 1e-3};
  return single ? Tolerances{2e-3, 1e-6} : Tolerances{1e-8, 1e-11};
}

std::string Problem::find_error(const Candidate& fitted) {
  Communicator& communicator = setting_.communicator;
  std::vector<double> rows = row_objectives(fitted.parameters);
  FitResults results;
  double total = 0;
  for (const double row : rows) total += row;
  communicator.sum(std::span(&total, 1));
  results.trace = fitted.trace;
  results.larger_is_better = model_->larger_is_better();
  results.sum_of_rows = total;
  std::string error;
  agree(communicator, [&] {
    // Rank 0 has the first rows.
    if (communicator.rank() == 0) {
      const Index count = std::min(rows_checked, static_cast<Index>(rows.size()));
      std::vector<double> values(static_cast<std::size_t>(count * workload_.columns));
      rows_.read(0, count, values.data());
      const auto naive = naive_objectives(*model_, fitted.parameters,
                                          MatrixView<const double>(values.data(), count, workload_.columns),
                                          workload_.sequences.get());
      results.some_rows = std::move(rows);
      if (naive) results.naive_rows = *naive;
    }
    error = bench::find_error(results, tolerances());
  });
  std::int64_t wrong = !error.empty();
  communicator.sum(std::span(&wrong, 1));
  return wrong > 0 && error.empty() ? "another rank found an error" : error;
}

}  // namespace tally::bench
