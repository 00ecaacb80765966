#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "comm/agreement.hpp"
#include "core/error.hpp"
#include "core/full_range_sum.hpp"
#include "launch/context.hpp"
#include "launch/evaluation.hpp"
#include "launch/output.hpp"

namespace tally {
namespace {

struct ScoreRequest {
  EvaluationRequest evaluation;
  std::string per_row;  // empty: none
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

class ScoreJob {
 public:
  ScoreJob(const ScoreRequest& request, CommandContext& context)
      : request_(request), context_(context), evaluation_(request.evaluation, context) {}

  void run() {
    if (request_.per_row.empty())
      score(evaluation_.blocks_of_this_rank(), {});
    else
      score_each_row();
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
    const DatasetName target = parse_output(request_.per_row, "/score");
    agree(context_.communicator, [&] {
      if (!context_.is_root()) return;
      std::vector<std::string> inputs = request_.evaluation.data;
      inputs.push_back(request_.evaluation.model);
      if (evaluation_.weighted()) inputs.push_back(request_.evaluation.weights);
      refuse_to_replace(target.file, inputs);
      writer_.emplace(context_.io, target.file, target.path, evaluation_.rows().rows(), 0,
                      Hdf5RowWriter::Type::float64);
    });
    write_in_row_order<double>(
        context_.communicator, evaluation_.rounds(1),
        [&](BlockRange blocks, std::span<double> out) { score(blocks, out); },
        [&](std::span<const double> results) {
          writer_->append(results.data(), static_cast<Index>(results.size()));
        });
  }

  void print() const {
    const double weight = totals_.weight.value();
    const double total =
        totals_.impossible > 0 ? -std::numeric_limits<double>::infinity() : totals_.objective.value();
    const bool likelihood = model().larger_is_better();
    const auto free = static_cast<double>(model().free_parameters());
    const double bic = free * std::log(weight) - 2 * total, aic = 2 * free - 2 * total;
    if (request_.json) {
      nlohmann::json result = {{"model", evaluation_.loaded().record.model},
                               {"data", evaluation_.rows().name()},
                               {"rows", evaluation_.rows().rows()},
                               {"weight", weight},
                               {"objective", model().objective_name()},
                               {"total", total},
                               {"mean", total / weight}};
      if (likelihood) {
        result["free_parameters"] = model().free_parameters();
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
    line("free parameters", free);
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
  command->add_option("--per-row", request->per_row,
                      "Write the value of every row, unweighted, to FILE.h5[:/PATH] (default path: /score)");
  command->add_flag("--json", request->json, "Print the result as JSON");
  command->callback([request, choose] {
    choose([request](CommandContext& context) {
      ScoreJob(*request, context).run();
      return 0;
    });
  });
}

}  // namespace tally
