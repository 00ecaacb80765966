#include "launch/evaluation.hpp"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>

#include "algorithms/bound_device_model.hpp"
#include "algorithms/em_exchange.hpp"
#include "comm/agreement.hpp"
#include "core/backends/chain_range.hpp"
#include "core/error.hpp"
#include "core/wrapped_rows.hpp"
#include "launch/option_checks.hpp"
#include "launch/resources.hpp"
#include "launch/sequence_inputs.hpp"

namespace tally {
namespace {

// What is wrong with a row: a fault of a value, or its weight.
constexpr Index bad_weight = value_faults, fault_count = bad_weight + 1;

constexpr std::int64_t no_fault = std::numeric_limits<std::int64_t>::max();

}  // namespace

// Rows as they are read, with a note of the first value that the model cannot take; 0 stands in for such values.
class Evaluation::CheckedRows final : public WrappedRows {
 public:
  CheckedRows(const RowSource& rows, const Model& model)
      : WrappedRows(rows), domain_(model.domain()), takes_missing_(model.takes_missing()) {}

  void read(Index first, Index count, double* out) const override {
    WrappedRows::read(first, count, out);
    const Index D = columns();
    double finite = 0;  // stays 0 where every value is finite
    for (Index i = 0; i < count * D; ++i) finite += out[i] * 0;
    if (finite == 0 && domain_.takes_any()) return;
    for (Index i = 0; i < count; ++i) {
      double* row = out + i * D;
      if (takes_missing_ && std::all_of(row, row + D, [](double x) { return std::isnan(x); })) continue;
      check_row(first + i, row);
    }
  }

  void report(Index row, Index column, Index fault) const {
    const std::lock_guard lock(mutex_);
    first_fault_ = std::min(first_fault_, (row * (columns() + 1) + column) * fault_count + fault);
  }
  std::int64_t first_fault() const {
    const std::lock_guard lock(mutex_);
    return first_fault_;
  }

 private:
  void check_row(Index row, double* values) const {
    for (Index d = 0; d < columns(); ++d) {
      const ValueFault fault = domain_.fault_of(values[d]);
      if (fault == ValueFault::none) continue;
      report(row, d, static_cast<Index>(fault));
      values[d] = 0;
    }
    if (!domain_.takes_length(values, columns())) report(row, columns(), static_cast<Index>(ValueFault::length));
  }

  Domain domain_;
  bool takes_missing_;
  mutable std::mutex mutex_;
  mutable std::int64_t first_fault_ = no_fault;  // (row (D + 1) + column) fault_count + kind
};

void add_evaluation_options(CLI::App& command, EvaluationRequest& request) {
  command.add_option("model", request.model, "Model file, as `tally fit --out` writes it")->required();
  command.add_option("data", request.data, "Data sets, FILE.h5:/PATH; several, or a glob, act as one")->required();
  command.add_option("--lengths", request.lengths,
                     "Lengths of the sequences that lie end to end, FILE.h5:/PATH (default: one sequence)");
  command.add_option("--threads", request.threads, "Threads of each rank (default: its processors)")
      ->check(whole_number_from(1));
  add_device_option(command, request.device);
  command.add_option("--memory", request.memory,
                     "Memory for results that wait to be written, as 512M (default: 128M)");
  add_precision_option(command, request.precision);
}

Evaluation::Evaluation(const EvaluationRequest& request, CommandContext& context, ComputeOn where) : context_(context) {
  if (where == ComputeOn::device)
    device_ = choose_device(request.device, context);
  else
    check_device(request.device, context);
  lanes_ = device_.lanes(request.threads);
  precision_ = precision_named(request.precision);
  if (!request.memory.empty()) memory_ = parse_bytes(request.memory);
  if (context.is_root() && !device_.note.empty()) fmt::print(stderr, "tally: {}\n", device_.note);
  agree(context_.communicator, [&] { open(request); });
  check_shape();
}

Evaluation::~Evaluation() = default;

bool Evaluation::has_tiny_transitions() const {
  const Field& transitions = loaded_.model->parameters()["transmat"];
  const double least = in_float(precision_) ? double{ChainRange<float>::mixing} : ChainRange<double>::mixing;
  const auto first = loaded_.parameters.begin() + transitions.offset;
  return std::any_of(first, first + transitions.size, [&](double probability) { return probability < least; });
}

void Evaluation::open(const EvaluationRequest& request) {
  loaded_ = load_model(context_.io, request.model, context_.registry);
  rows_ = std::make_unique<Hdf5Rows>(context_.io, request.data);
  if (rows_->columns() != loaded_.record.columns)
    throw DataError(fmt::format("{} has {} {} but {} was fitted on {}; pass the columns it was fitted on",
                                rows_->name(), rows_->columns(), rows_->columns() == 1 ? "column" : "columns",
                                request.model, loaded_.record.columns));
  if (rows_->rows() == 0) throw DataError(rows_->name() + " has no rows");
  sequences_ = sequences_for(*loaded_.model, context_.io, request.lengths, rows_->rows(), rows_->name());
  if (!request.weights.empty() && sequences_) {
    weights_ = std::make_unique<SequenceWeights>(
        std::make_unique<Hdf5Rows>(context_.io, std::vector<std::string>{request.weights}), sequences_);
  } else if (!request.weights.empty()) {
    weights_ = std::make_unique<Hdf5Rows>(context_.io, std::vector<std::string>{request.weights});
    if (weights_->rows() != rows_->rows() || weights_->columns() != 1)
      throw DataError(fmt::format("{} has {} rows of {} weights but {} has {} rows; one is needed for each row",
                                  weights_->name(), weights_->rows(), weights_->columns(), rows_->name(),
                                  rows_->rows()));
  }
  if (device_.device && sequences_ && has_tiny_transitions()) {
    // Only the CPU has numbers of any size for states that are lost on the way.
    device_ = DeviceChoice();
    lanes_ = device_.lanes(request.threads);
    if (context_.is_root()) fmt::print(stderr, "tally: note: computed on the CPU, as transitions of probability 0 may need\n");
  }
  plan_ = plan_for(*loaded_.model, sequences_, rows_->rows(), device_.block_rows(rows_->columns()));
  checked_ = std::make_unique<CheckedRows>(*rows_, *loaded_.model);
  BindOptions options;
  options.precision = precision_;
  options.lanes = lanes_;
  options.device = device_.device.get();
  bound_ = bind_model(*loaded_.model, options);
  bound_->prepare(0, loaded_.parameters);
}

// Ranks that see different files (a stale copy on one host) must not go on.
void Evaluation::check_shape() const {
  const std::int64_t components = loaded_.record.components;
  std::array<std::int64_t, 4> extremes = {rows_->rows(), -rows_->rows(), components, -components};
  context_.communicator.sum_and_max({}, extremes);
  if (extremes[0] != -extremes[1] || extremes[2] != -extremes[3])
    throw DataError("the ranks see different files under the same names; give every host the same " + rows_->name());
}

RowRounds Evaluation::rounds(Index row_values) const {
  RowRounds rounds;
  rounds.plan = plan_;
  rounds.row_values = row_values;
  rounds.memory = memory_;
  return rounds;
}

BlockRange Evaluation::blocks_of_this_rank() const {
  return blocks_of_rank(plan_, context_.communicator.rank(), context_.communicator.size(), work_of(*loaded_.model));
}

std::unique_ptr<Shard> Evaluation::shard_of(BlockRange blocks) {
  Shard::Options options;
  options.memory_limit = 1;  // rows are needed once, or a few times: none is kept
  options.precision = precision_;
  options.lanes = lanes_;
  options.takes_missing = loaded_.model->takes_missing();
  auto shard = std::make_unique<Shard>(context_.io, Inputs{checked_.get(), nullptr, nullptr}, plan_,
                                       ShardRange{blocks.first, blocks.last}, options);
  shard->prepare({loaded_.model->standardisation(), loaded_.model->log_base_measure()},
                 [&] { context_.communicator.pulse(); });
  return shard;
}

std::unique_ptr<Shard> Evaluation::shard_of_this_rank() {
  std::unique_ptr<Shard> shard;
  agree(context_.communicator, [&] { shard = shard_of(blocks_of_this_rank()); });
  return shard;
}

void Evaluation::run(BlockRange blocks, BoundModel::Wanted wanted, const BoundModel::VisitRows& visit) {
  if (plan_.cut_piece_count() > 0 && !messages_exchanged_) exchange_messages();
  agree(context_.communicator, [&] {
    const auto shard = shard_of(blocks);
    bound_->evaluate(*shard, wanted, visit, [&] { context_.communicator.pulse(); });
  });
  report_first_fault();
}

void Evaluation::refuse_impossible() const {
  const Index row = bound_->impossible_row(0);
  std::array<std::int64_t, 1> first = {row < 0 ? -no_fault : -row};
  context_.communicator.sum_and_max({}, first);
  if (first[0] == -no_fault || !sequences_) return;
  const Index sequence = sequences_->sequence_of(-first[0]);
  throw DataError(fmt::format("{}, step {} of sequence {} (counted from 0), is impossible under the model",
                              rows_->where(-first[0]), -first[0] - sequences_->first_row(sequence), sequence));
}

void Evaluation::exchange_messages() {
  const auto shard = shard_of_this_rank();
  RankExchange exchange(*shard, context_.communicator);
  const int first[] = {0};
  bound_->exchange_messages(*shard, first, PassKind::evaluation, exchange, [&] { context_.communicator.pulse(); });
  agree(context_.communicator, [&] { exchange.rethrow(); });
  report_first_fault();
  messages_exchanged_ = true;
}

void Evaluation::decode(const BoundModel::VisitPath& visit_path,
                        const BoundModel::VisitProbability& visit_probability) {
  const auto shard = shard_of_this_rank();
  RankExchange exchange(*shard, context_.communicator);
  bound_->decode(*shard, exchange, visit_path, visit_probability, [&] { context_.communicator.pulse(); });
  agree(context_.communicator, [&] { exchange.rethrow(); });
  report_first_fault();
}

void Evaluation::report_first_fault() const {
  std::array<std::int64_t, 1> first = {-checked_->first_fault()};
  context_.communicator.sum_and_max({}, first);
  const std::int64_t code = -first[0];
  if (code == no_fault) return;
  const Index place = code / fault_count, width = rows_->columns() + 1;
  if (code % fault_count == bad_weight)
    throw DataError("the weight in " + weights_->where(place / width) +
                    " is negative or not finite (rows are counted from 0)");
  const auto fault = static_cast<ValueFault>(code % fault_count);
  const Domain domain = loaded_.model->domain();
  const bool partly_missing = fault == ValueFault::not_a_number && loaded_.model->takes_missing();
  throw DataError(fmt::format("{}{}{}", domain.message(rows_->where(place / width), place % width, fault),
                              partly_missing ? "; " : "", partly_missing ? missing_row_words : ""));
}

void Evaluation::read_weights(Index first_row, Index count, std::vector<double>& out) {
  out.assign(static_cast<std::size_t>(count), 1.0);
  if (!weights_) return;
  weights_->read(first_row, count, out.data());
  for (Index i = 0; i < count; ++i) {
    double& weight = out[static_cast<std::size_t>(i)];
    if (weight >= 0 && std::isfinite(weight)) continue;
    checked_->report(first_row + i, rows_->columns(), bad_weight);
    weight = 0;
  }
}

}  // namespace tally
