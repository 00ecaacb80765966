#include <fmt/format.h>

#include <CLI/App.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <vector>

#include "comm/agreement.hpp"
#include "core/error.hpp"
#include "core/full_range_sum.hpp"
#include "launch/context.hpp"
#include "launch/evaluation.hpp"
#include "launch/output.hpp"
#include "launch/selection.hpp"

namespace tally {
namespace {

struct ScoreRequest {
  EvaluationRequest evaluation;
  std::string per_row, per_sequence;  // empty: none
  bool json = false;
};

// Exact sums, so that they are the same on any number of ranks and threads.
struct Totals {
  FullRangeSum objective, weight;
  std::int64_t impossible = 0;  // rows of positive weight that the model gives no probability at all
  std::int64_t overflows = 0;   // objectives too large for a double

  void add(double row_objective, double row_weight, bool missing) {
    if (!missing) weight.add(row_weight);
    if (row_weight == 0) return;
    if (std::isinf(row_objective) && row_objective < 0) {
      ++impossible;
    } else if (!objective.add(row_weight * row_objective)) {
      ++overflows;
    }
  }
  void merge(const Totals& other) {
    objective.merge(other.objective);
    weight.merge(other.weight);
    impossible += other.impossible;
    overflows += other.overflows;
  }
  // Collective.
  void sum_over(Communicator& communicator) {
    std::vector<std::int64_t> values = {impossible, overflows};
    for (FullRangeSum* sum : {&objective, &weight}) {
      sum->carry();
      values.insert(values.end(), sum->limbs().begin(), sum->limbs().end());
    }
    communicator.sum(values);
    impossible = values[0];
    overflows = values[1];
    auto from = values.begin() + 2;
    for (FullRangeSum* sum : {&objective, &weight}) {
      std::copy_n(from, FullRangeSum::limb_count, sum->limbs().begin());
      sum->carry();
      from += FullRangeSum::limb_count;
    }
  }
};

// Sums of rows that come in order, sequence by sequence.
class SequenceSums {
 public:
  explicit SequenceSums(const Sequences& sequences) : sequences_(sequences) {}

  // The sums of the sequences that end within these rows, which follow those before.
  std::vector<double> add(std::span<const double> rows) {
    std::vector<double> sums;
    for (const double value : rows) {
      possible_ &= sum_.add(value);
      if (++row_ < sequences_.first_row(sequence_ + 1)) continue;
      sums.push_back(possible_ ? sum_.value() : -std::numeric_limits<double>::infinity());
      sum_ = {};
      possible_ = true;
      ++sequence_;
    }
    return sums;
  }

 private:
  const Sequences& sequences_;
  Index row_ = 0, sequence_ = 0;
  FullRangeSum sum_;
  bool possible_ = true;
};

class ScoreJob {
 public:
  ScoreJob(const ScoreRequest& request, CommandContext& context)
      : request_(request), context_(context), evaluation_(request.evaluation, context) {}

  void run() {
    if (!request_.per_row.empty())
      score_each_row();
    else if (!request_.per_sequence.empty())
      score_each_sequence();
    else
      score(evaluation_.blocks_of_this_rank(), {});
    totals_.sum_over(context_.communicator);
    if (totals_.overflows > 0)
      throw DataError(fmt::format("the {} of {} rows is beyond the range of numbers; scale the data down",
                                  model().objective_name(), totals_.overflows));
    if (!(totals_.weight.value() > 0)) throw DataError("every weight is 0: there is nothing to score");
    agree(context_.communicator, [&] {
      if (writer_) writer_->finish();
    });
    if (context_.is_root()) print();
  }

 private:
  const Model& model() const { return *evaluation_.loaded().model; }

  // Adds the rows of these blocks to the totals; keeps each row's objective in `out`, unless that is empty.
  void score(BlockRange blocks, std::span<double> out) {
    const Index first = evaluation_.rounds(1).plan.first_row(blocks.first);
    BoundModel::Wanted wanted;
    wanted.objectives = true;
    wanted.stepwise = !request_.per_row.empty();
    evaluation_.run(blocks, wanted, [&](Index row, Index count, const RowResults& results) {
      std::vector<double> weights;
      evaluation_.read_weights(row, count, weights);
      Totals block;
      for (Index i = 0; i < count; ++i) {
        const bool missing = results.missing && results.missing[i];
        const double objective = model().objective_in_user_units(results.objectives[i], missing ? 0 : 1);
        block.add(objective, weights[static_cast<std::size_t>(i)], missing);
        if (!out.empty()) out[static_cast<std::size_t>(row - first + i)] = objective;
      }
      const std::lock_guard lock(mutex_);
      totals_.merge(block);
    });
  }

  void score_each_row() {
    create(request_.per_row, evaluation_.rows().rows());
    score_in_order([this](std::span<const double> rows) {
      writer_->append(rows.data(), static_cast<Index>(rows.size()));
    });
  }

  void score_each_sequence() {
    const Sequences* const sequences = evaluation_.sequences();
    if (!sequences)
      throw UsageError("--per-sequence is for sequences; the rows of " + request_.evaluation.model +
                       " are independent: use --per-row");
    create(request_.per_sequence, sequences->count());
    SequenceSums sums(*sequences);
    score_in_order([&](std::span<const double> rows) {
      const std::vector<double> complete = sums.add(rows);
      writer_->append(complete.data(), static_cast<Index>(complete.size()));
    });
  }

  // The file for so many values.
  void create(const std::string& name, Index count) {
    const DatasetName target = parse_output(name, "/score");
    agree(context_.communicator, [&] {
      if (!context_.is_root()) return;
      std::vector<std::string> inputs = request_.evaluation.data;
      for (const std::string& input :
           {request_.evaluation.model, request_.evaluation.weights, request_.evaluation.lengths})
        inputs.push_back(input);
      std::erase(inputs, "");
      refuse_to_replace(target.file, inputs);
      writer_.emplace(context_.io, target.file, target.path, count, 0, Hdf5RowWriter::Type::float64);
    });
  }

  // write(objectives) runs on the root, for all rows in their order.
  void score_in_order(const std::function<void(std::span<const double>)>& write) {
    write_in_row_order<double>(
        context_.communicator, evaluation_.rounds(1),
        [&](BlockRange blocks, std::span<double> out) { score(blocks, out); }, write);
  }

  void print() const {
    const double weight = totals_.weight.value();
    const double total =
        totals_.impossible > 0 ? -std::numeric_limits<double>::infinity() : totals_.objective.value();
    const bool likelihood = model().larger_is_better();
    const Index free = evaluation_.loaded().record.free_parameters;
    const double bic = bic_of(total, free, weight), aic = aic_of(total, free);
    if (request_.json) {
      nlohmann::json result = {{"model", evaluation_.loaded().record.model},
                               {"data", evaluation_.rows().name()},
                               {"rows", evaluation_.rows().rows()},
                               {"weight", weight},
                               {"objective", model().objective_name()},
                               {"total", total},
                               {"mean", total / weight}};
      if (likelihood) {
        result["free_parameters"] = free;
        result["bic"] = bic;
        result["aic"] = aic;
        result["impossible_rows"] = totals_.impossible;
      }
      fmt::print("{}\n", result.dump(2));
      return;
    }
    const auto line = [](const std::string& name, double value, const char* note = "") {
      fmt::print("{:<16} {:.12g}{}\n", name, value, note);
    };
    line(model().objective_name(), total);
    line("mean", total / weight, "  per unit of weight");
    line("rows", static_cast<double>(evaluation_.rows().rows()));
    if (evaluation_.weighted()) line("weight", weight);
    if (!likelihood) return;
    line("free parameters", static_cast<double>(free));
    line("BIC", bic);
    line("AIC", aic);
    if (totals_.impossible > 0)
      fmt::print("{} of the rows {} impossible under the model: log-likelihood -inf\n", totals_.impossible,
                 totals_.impossible == 1 ? "is" : "are");
  }

  const ScoreRequest& request_;
  CommandContext& context_;
  Evaluation evaluation_;
  std::mutex mutex_;
  Totals totals_;
  std::optional<Hdf5RowWriter> writer_;  // of the root
};

}  // namespace

void add_score_command(CLI::App& app, const Choose& choose) {
  CLI::App* command = app.add_subcommand("score", "Log-likelihood or inertia of data under a model, BIC and AIC");
  const auto request = std::make_shared<ScoreRequest>();
  add_evaluation_options(*command, request->evaluation);
  command->add_option("--weights", request->evaluation.weights, "Weights of the rows, FILE.h5:/PATH");
  CLI::Option* const per_row =
      command->add_option("--per-row", request->per_row,
                          "Write the value of every row, unweighted, to FILE.h5[:/PATH] (default path: /score)");
  command
      ->add_option("--per-sequence", request->per_sequence,
                   "Write the value of every sequence, unweighted, to FILE.h5[:/PATH] (default path: /score)")
      ->excludes(per_row);
  command->add_flag("--json", request->json, "Print the result as JSON");
  command->callback([request, choose] {
    choose([request](CommandContext& context) {
      ScoreJob(*request, context).run();
      return 0;
    });
  });
}

}  // namespace tally
