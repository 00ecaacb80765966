#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "comm/agreement.hpp"
#include "comm/share.hpp"
#include "core/error.hpp"
#include "core/full_range_sum.hpp"
#include "launch/context.hpp"
#include "launch/evaluation.hpp"
#include "launch/output.hpp"

namespace tally {
namespace {

struct DecodeRequest {
  EvaluationRequest evaluation;
  std::string out;
  std::string method = "viterbi";

  bool finds_paths() const { return method == "viterbi"; }
};

// Finds the path of states behind every sequence and writes it with its log-probability.
class DecodeJob {
 public:
  DecodeJob(const DecodeRequest& request, CommandContext& context)
      : context_(context),
        target_(parse_output(request.out, "/states")),
        evaluation_(request.evaluation, context, request.finds_paths() ? ComputeOn::cpu : ComputeOn::device) {
    if (request.finds_paths() && request.evaluation.device != "cpu" && context.is_root())
      fmt::print(stderr, "tally: likeliest paths are found on the CPU\n");
    if (!evaluation_.sequences())
      throw UsageError(request.evaluation.model + " is a " + evaluation_.loaded().record.model +
                       ": its rows are independent; use tally predict");
    agree(context_.communicator, [&] {
      if (!context_.is_root()) return;
      std::vector<std::string> inputs = request.evaluation.data;
      inputs.push_back(request.evaluation.model);
      if (!request.evaluation.lengths.empty()) inputs.push_back(request.evaluation.lengths);
      refuse_to_replace(target_.file, inputs);
    });
    const RowRounds rounds = evaluation_.rounds(1);
    blocks_ = evaluation_.blocks_of_this_rank();
    first_row_ = rounds.plan.first_row(blocks_.first);
    path_.resize(static_cast<std::size_t>(rounds.rows_in(blocks_)));
    log_probabilities_.resize(static_cast<std::size_t>(evaluation_.sequences()->count()), 0.0);
    missing_rows_.resize(log_probabilities_.size(), 0);
  }

  void find_paths() {
    evaluation_.decode(
        [this](Index row, std::span<const std::int32_t> states, Index missing_rows) {
          std::ranges::copy(states, path_.begin() + (row - first_row_));
          const std::lock_guard lock(mutex_);
          missing_rows_[static_cast<std::size_t>(evaluation_.sequences()->sequence_of(row))] += missing_rows;
        },
        [this](Index sequence, double value) { log_probabilities_[static_cast<std::size_t>(sequence)] = value; });
    share(context_.communicator, log_probabilities_);
    context_.communicator.sum(missing_rows_);
    for (std::size_t s = 0; s < log_probabilities_.size(); ++s) {
      const Index seen = evaluation_.sequences()->length(static_cast<Index>(s)) - missing_rows_[s];
      log_probabilities_[s] =
          evaluation_.loaded().model->objective_in_user_units(log_probabilities_[s], static_cast<double>(seen));
    }
    const auto impossible = std::ranges::find_if(log_probabilities_, [](double p) { return !std::isfinite(p); });
    if (impossible != log_probabilities_.end())
      throw DataError(fmt::format("sequence {} (counted from 0) is impossible under {}: no path of states explains it",
                                  impossible - log_probabilities_.begin(), evaluation_.loaded().record.model));
  }

  // The likeliest state of each step by itself: no path need lead through them.
  void find_states() {
    BoundModel::Wanted wanted;
    wanted.labels = true;
    evaluation_.run(blocks_, wanted, [this](Index row, Index count, const RowResults& results) {
      std::copy_n(results.labels, count, path_.begin() + (row - first_row_));
    });
    evaluation_.refuse_impossible();
    log_probabilities_.clear();
  }

  void write() {
    agree(context_.communicator, [&] {
      if (context_.is_root())
        writer_.emplace(context_.io, target_.file, target_.path, evaluation_.rows().rows(), 0, Hdf5RowWriter::Type::int64);
    });
    write_path();
    agree(context_.communicator, [&] {
      if (!writer_) return;
      if (!log_probabilities_.empty()) {
        writer_->next("/log_probability", static_cast<Index>(log_probabilities_.size()), 0, Hdf5RowWriter::Type::float64);
        writer_->append(log_probabilities_.data(), static_cast<Index>(log_probabilities_.size()));
      }
      writer_->finish();
    });
    if (context_.is_root()) print();
  }

 private:
  // Rank by rank, so many states at a time that rank 0 can hold them.
  void write_path() {
    constexpr std::size_t at_a_time = std::size_t{1} << 24;
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(context_.communicator.size()), 0);
    lengths[static_cast<std::size_t>(context_.communicator.rank())] = static_cast<std::int64_t>(path_.size());
    context_.communicator.sum(lengths);
    std::vector<std::int64_t> wide;
    for (std::size_t rank = 0; rank < lengths.size(); ++rank)
      for (std::size_t first = 0; first < static_cast<std::size_t>(lengths[rank]); first += at_a_time) {
        const bool mine = static_cast<int>(rank) == context_.communicator.rank();
        const std::size_t count = mine ? std::min(at_a_time, path_.size() - first) : 0;
        const auto pieces =
            context_.communicator.gather(std::as_bytes(std::span(path_).subspan(mine ? first : 0, count)));
        agree(context_.communicator, [&] {
          if (!writer_) return;
          const std::vector<std::byte>& piece = pieces[rank];
          wide.resize(piece.size() / sizeof(std::int32_t));
          const auto* const states = reinterpret_cast<const std::int32_t*>(piece.data());
          std::copy_n(states, wide.size(), wide.begin());
          writer_->append(wide.data(), static_cast<Index>(wide.size()));
        });
      }
  }

  void print() const {
    const Index count = evaluation_.sequences()->count();
    fmt::print("decoded {} {} of {} -> {}:{}\n", count, count == 1 ? "sequence" : "sequences", evaluation_.rows().name(),
               target_.file, target_.path);
    if (log_probabilities_.empty()) return;
    FullRangeSum total;
    for (const double value : log_probabilities_) total.add(value);
    fmt::print("log-probability of the paths and their observations {:.12g}\n", total.value());
  }

  CommandContext& context_;
  const DatasetName target_;
  Evaluation evaluation_;
  BlockRange blocks_;
  Index first_row_ = 0;
  std::vector<std::int32_t> path_;  // of this rank's rows
  std::vector<double> log_probabilities_;
  std::mutex mutex_;
  std::vector<std::int64_t> missing_rows_;  // of each sequence
  std::optional<Hdf5RowWriter> writer_;  // of the root
};

}  // namespace

void add_decode_command(CLI::App& app, const Choose& choose) {
  CLI::App* command = app.add_subcommand("decode", "Write the states behind sequences: the likeliest path");
  const auto request = std::make_shared<DecodeRequest>();
  add_evaluation_options(*command, request->evaluation);
  command->add_option("-o,--out", request->out,
                      "File to write, FILE.h5[:/PATH] (default path: /states; beside it /log_probability of each path)")
      ->required();
  command->add_option("--method", request->method,
                      "viterbi: the likeliest path, found on the CPU; map: the likeliest state of each step by itself")
      ->capture_default_str()
      ->check(CLI::IsMember({"viterbi", "map"}));
  command->callback([request, choose] {
    choose([request](CommandContext& context) {
      DecodeJob job(*request, context);
      if (request->finds_paths())
        job.find_paths();
      else
        job.find_states();
      job.write();
      return 0;
    });
  });
}

}  // namespace tally
