#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>
#include <optional>

#include "comm/agreement.hpp"
#include "core/error.hpp"
#include "launch/context.hpp"
#include "launch/evaluation.hpp"
#include "launch/output.hpp"

namespace tally {
namespace {

struct PredictRequest {
  EvaluationRequest evaluation;
  std::string out;
  bool proba = false;
  bool labels = false;  // beside --proba
  bool filter = false;
};

// Writes what is asked for, one data set after another: each is a pass over the rows.
class PredictJob {
 public:
  PredictJob(const PredictRequest& request, CommandContext& context)
      : context_(context),
        target_(parse_output(request.out, request.proba ? "/responsibilities" : "/labels")),
        both_(request.proba && request.labels),
        filter_(request.filter),
        evaluation_(request.evaluation, context) {
    if (both_ && target_.path == "/labels")
      throw UsageError("--labels writes " + target_.file + ":/labels; give the responsibilities another path");
    if (filter_ && !evaluation_.sequences())
      throw UsageError("--filter is for sequences; the rows of " + request.evaluation.model + " are independent");
    agree(context_.communicator, [&] {
      if (!context_.is_root()) return;
      std::vector<std::string> inputs = request.evaluation.data;
      inputs.push_back(request.evaluation.model);
      refuse_to_replace(target_.file, inputs);
    });
  }

  void write_responsibilities() {
    const Index K = evaluation_.loaded().record.components;
    start(target_.path, K, Hdf5RowWriter::Type::float64);
    const RowRounds rounds = evaluation_.rounds(K);
    write_in_row_order<double>(
        context_.communicator, rounds,
        [&](BlockRange blocks, std::span<double> out) {
          const Index first = rounds.plan.first_row(blocks.first);
          BoundModel::Wanted wanted;
          wanted.responsibilities = true;
          wanted.filtered = filter_;
          evaluation_.run(blocks, wanted, [&](Index row, Index count, const RowResults& results) {
            std::copy_n(results.responsibilities, count * K, out.begin() + (row - first) * K);
          });
          evaluation_.refuse_impossible();
        },
        [&](std::span<const double> results) {
          writer_->append(results.data(), static_cast<Index>(results.size()) / K);
        });
  }

  void write_labels() {
    start(both_ ? "/labels" : target_.path, 0, Hdf5RowWriter::Type::int64);
    const RowRounds rounds = evaluation_.rounds(1);
    std::vector<std::int64_t> wide;
    write_in_row_order<std::int32_t>(
        context_.communicator, rounds,
        [&](BlockRange blocks, std::span<std::int32_t> out) {
          const Index first = rounds.plan.first_row(blocks.first);
          BoundModel::Wanted wanted;
          wanted.labels = true;
          wanted.filtered = filter_;
          evaluation_.run(blocks, wanted, [&](Index row, Index count, const RowResults& results) {
            std::copy_n(results.labels, count, out.begin() + (row - first));
          });
          evaluation_.refuse_impossible();
        },
        [&](std::span<const std::int32_t> results) {
          wide.assign(results.begin(), results.end());
          writer_->append(wide.data(), static_cast<Index>(wide.size()));
        });
  }

  void finish() {
    agree(context_.communicator, [&] {
      if (writer_) writer_->finish();
    });
    if (!context_.is_root()) return;
    fmt::print("predicted {} rows of {} -> {}:{}{}\n", evaluation_.rows().rows(), evaluation_.rows().name(),
               target_.file, target_.path, both_ ? " and /labels" : "");
  }

 private:
  void start(const std::string& path, Index columns, Hdf5RowWriter::Type type) {
    agree(context_.communicator, [&] {
      if (!context_.is_root()) return;
      if (writer_)
        writer_->next(path, evaluation_.rows().rows(), columns, type);
      else
        writer_.emplace(context_.io, target_.file, path, evaluation_.rows().rows(), columns, type);
    });
  }

  CommandContext& context_;
  const DatasetName target_;
  const bool both_;
  const bool filter_;
  Evaluation evaluation_;
  std::optional<Hdf5RowWriter> writer_;  // of the root
};

}  // namespace

void add_predict_command(CLI::App& app, const Choose& choose) {
  CLI::App* command = app.add_subcommand("predict", "Write the most likely component of every row");
  const auto request = std::make_shared<PredictRequest>();
  add_evaluation_options(*command, request->evaluation);
  command->add_option("-o,--out", request->out,
                      "File to write, FILE.h5[:/PATH] (default path: /labels, with --proba /responsibilities)")
      ->required();
  command->add_flag("--proba", request->proba, "Write the probability of every component instead");
  command->add_flag("--labels", request->labels, "With --proba: write /labels to the file, too");
  command->add_flag("--filter", request->filter,
                    "Of sequences: what the steps up to each row say, not the whole sequence");
  command->callback([request, choose] {
    choose([request](CommandContext& context) {
      PredictJob job(*request, context);
      if (request->proba) job.write_responsibilities();
      if (!request->proba || request->labels) job.write_labels();
      job.finish();
      return 0;
    });
  });
}

}  // namespace tally
