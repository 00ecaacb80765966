#include "launch/fit_job.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "algorithms/em_scan.hpp"
#include "algorithms/em_start.hpp"
#include "algorithms/em_stepwise.hpp"
#include "algorithms/kept_zeros.hpp"
#include "comm/agreement.hpp"
#include "comm/partition.hpp"
#include "core/durable_file.hpp"
#include "core/error.hpp"
#include "core/hdf5_rows.hpp"
#include "launch/device_choice.hpp"
#include "launch/fit_inputs.hpp"
#include "launch/fit_rows.hpp"
#include "launch/iteration_times.hpp"
#include "launch/job_checkpoints.hpp"
#include "launch/model_file.hpp"
#include "launch/output.hpp"
#include "launch/progress.hpp"
#include "launch/repairs.hpp"
#include "launch/result_file.hpp"
#include "launch/resources.hpp"
#include "launch/sequence_inputs.hpp"
#include "launch/signals.hpp"

namespace tally {
namespace {

// The arrays of one group of a file, by name.
NamedArrays read_group(IoExecutor& io, const std::string& place) {
  const auto name = place.find(":/") == std::string::npos ? DatasetName{place, "/"} : parse_dataset_name(place);
  const ArchiveReader archive(io, name.file);
  NamedArrays arrays;
  const std::string group = name.path == "/" ? "" : name.path;
  for (const std::string& array : archive.list(name.path)) arrays[array] = archive.get(group + "/" + array);
  if (arrays.empty()) throw DataError(place + " holds no arrays to start from");
  return arrays;
}

// The fit of one request, step by step; each step is a member so that `run` reads as the story.
class FitJob final : public FitObserver {
 public:
  FitJob(const FitRequest& request, CommandContext& context)
      : request_(request),
        context_(context),
        entry_(context.registry.find(request.model)),
        init_(init_of(request, entry_)),
        checkpoints_(request, context),
        result_(context.io, request.out) {}

  int run() {
    check_request();
    open();
    take_device();
    read_and_scan();
    if (!resume()) start();
    if (request_.labels.empty()) shard_->forget_given();
    publish();
    times_.begin();
    const auto fit_it = options_.stepwise ? fit_stepwise : fit;
    return conclude(fit_it(*model_, *shard_, scan_.summary, state_, options_, context_.communicator, *this));
  }

  void iterated(const IterationReport& report) override {
    if (!request_.times_file.empty()) times_.iterated(report);
    if (progress_) progress_->iterated(report);
  }

  void repaired(int, int candidate, const Degenerate& degenerate, int iteration) override {
    if (progress_)
      tell(*progress_, {0, candidate, iteration, degenerate, request_.fit.on_degenerate,
                        request_.restarts > 1 ? fmt::format("start {}: ", candidate) : ""});
  }

  void advanced(std::span<const FitTask>, bool stopping) override {
    publish();
    checkpoints_.save(state_.iteration, stopping, [this] {
      return Checkpoint{record_of(best(), "unfinished"), {state_}, options_hash()};
    });
  }

  bool stop_requested() override { return stop_was_requested(); }

 private:
  void check_request() const {
    if (request_.restarts < 1) throw UsageError("--n-init must be at least 1");
    if (std::isnan(request_.fit.tolerance)) throw UsageError("--tol must be a number from 0 on");
    if (request_.restarts > 1 && init_.from_file())
      throw UsageError("--n-init " + std::to_string(request_.restarts) + " contradicts --init " + init_.way +
                       ": a start from a file is one start");
    if (request_.restarts > 1 && init_.way.empty())
      throw UsageError(entry_.name + " has one start; leave --n-init out");
    if (init_.from_file() && init_.place.empty())
      throw UsageError("--init " + init_.way + " needs a file: " + init_.way + ":FILE...");
    if (!init_.from_file()) {
      if (!init_.place.empty()) throw UsageError("--init " + init_.way + " takes no file");
      if (!init_.way.empty()) parse_sample_start(init_.way);
    }
    if (!request_.labels.empty() && init_.from_rows())
      throw UsageError("--labels contradicts --init " + init_.way + ": one says what is known, the other where to start");
    const OnDegenerate policy = request_.fit.on_degenerate;
    if (!request_.labels.empty() && (policy == OnDegenerate::reseed || policy == OnDegenerate::prune))
      throw UsageError(fmt::format("--on-degenerate {} contradicts --labels, which name components", to_string(policy)));
    if (const auto& stepwise = request_.fit.stepwise) {
      if (stepwise->rows < 1) throw UsageError("--step-decay and --held-out say how --mini-batch goes, which is not given");
      if (request_.device != "cpu" && request_.device != "auto") throw UsageError("--mini-batch fits on the CPU: leave --device out");
      if (!(stepwise->step_decay > 0.5 && stepwise->step_decay <= 1))
        throw UsageError("--step-decay must be above 0.5 and at most 1");
      if (policy == OnDegenerate::reseed || policy == OnDegenerate::prune)
        throw UsageError(fmt::format("--on-degenerate {} contradicts --mini-batch: a batch does not tell", to_string(policy)));
    }
    if (request_.resume && request_.checkpoint_folder.empty())
      throw UsageError("--resume needs --checkpoint: the folder to resume from");
    if (request_.out.empty() && request_.checkpoint_folder.empty())
      throw UsageError("--out is needed: where the model goes");
  }

  void open() {
    agree(context_.communicator, [&] {
      if (context_.is_root()) check_outputs();
      inputs_ = open_fit_inputs(request_, entry_, context_.io);
      model_ = std::move(inputs_.model);
      check_on_degenerate(*model_, request_.fit.on_degenerate);
      if (request_.fit.stepwise && !model_->fits_stepwise()) throw UsageError("--mini-batch is for mixtures, not " + entry_.name);
    });
    if (progress_) progress_->set_objective_name(model_->objective_name());
    check_same_everywhere(*inputs_.rows, request_, options_hash(), context_.communicator);
  }

  // Finds out before the work whether its result can be written.
  void check_outputs() {
    refuse_to_share({request_.out, request_.log_file, request_.times_file}, input_names());
    progress_ = std::make_unique<Progress>(request_);
    checkpoints_.open(*progress_);
    if (!request_.times_file.empty()) {
      const DurableFile probe(request_.times_file);
    }
    result_.check();
  }

  std::vector<std::string> input_names() const {
    std::vector<std::string> inputs = request_.data;
    for (const std::string& name : {request_.weights, request_.lengths, request_.labels, topology_file(request_)})
      inputs.push_back(name);
    if (init_.from_rows()) inputs.push_back(init_.place);
    std::erase(inputs, "");
    return inputs;
  }

  void take_device() {
    device_ = choose_device(request_.fit.stepwise ? "cpu" : request_.device, context_);
    options_ = request_.fit;
    options_.device = device_.device.get();
    options_.row_memory = request_.memory;
    if (options_.stepwise) options_.stepwise->seed = static_cast<std::uint64_t>(request_.seed);
    if (progress_ && !device_.note.empty()) progress_->note(device_.note);
  }

  void read_and_scan() {
    Communicator& communicator = context_.communicator;
    const Hdf5Rows& rows = *inputs_.rows;
    shard_ = shard_of_rank(request_, inputs_, *model_, device_, context_);
    if (progress_) progress_->note(words_of_shard(*shard_, communicator.size()));
    if (request_.fit.stepwise) {
      const std::string words = words_of_batches(*request_.fit.stepwise, shard_->plan());
      if (progress_) progress_->note(words);
    }
    const Index sampled = sample_size(rows.rows(), rows.columns(), request_.components);
    const Index known = request_.labels.empty() || init_.from_file() ? 0 : request_.components;
    scan_ = scan(*shard_, model_->domain(), sampled, static_cast<std::uint64_t>(request_.seed), communicator, known);
    source_ = source_of_fit(scan_, inputs_, context_);
    model_ = adapt_to_data(entry_, *model_, inputs_.model_options, scan_.summary);
    if (progress_ && !scan_.summary.observed_weight.empty()) progress_->note(words_of_missing(scan_.summary));
    if (progress_)
      for (const std::string& warning : model_->warnings(scan_.summary)) progress_->note("warning: " + warning);
    agree(communicator, [&] {
      shard_->prepare({model_->standardisation(), model_->log_base_measure()}, [&] { communicator.pulse(); });
    });
  }

  std::string options_hash() const { return hash_of_options(std::array<const Model*, 1>{model_.get()}, request_, init_); }

  // Whether there was a checkpoint to go on from.
  bool resume() {
    std::optional<Checkpoint> found = checkpoints_.load(source_, options_hash(), {model_.get()}, progress_.get());
    if (!found) return false;
    state_ = std::move(found->states.front());
    free_parameters_ = found->record.free_parameters;
    return true;
  }

  void start() {
    free_parameters_ = model_->free_parameters();
    if (!init_.from_file() && !init_.way.empty()) {
      StartOptions options;
      options.start = parse_sample_start(init_.way);
      options.seed = static_cast<std::uint64_t>(request_.seed);
      options.lanes = shard_->lanes();
      state_.candidates = starts_from_sample(*model_, scan_, options, request_.restarts, context_.io, context_.communicator);
      return;
    }
    auto& first = state_.candidates.emplace_back().parameters;
    first.resize(static_cast<std::size_t>(model_->parameters().size()));
    model_->set_defaults(first);
    if (init_.from_rows()) {
      first = fit_given(*model_, *shard_, scan_.summary, options_, context_.communicator);
    } else if (init_.from_file()) {
      agree(context_.communicator, [&] {
        if (init_.way == "parameters") return model_->read(read_group(context_.io, init_.place), first);
        const LoadedModel from = load_model(context_.io, init_.place, context_.registry);
        check_same_kind(from);
        model_->read(from.record.parameters, first);
      });
    }
    if (init_.from_file()) free_parameters_ = free_parameters_from(*model_, first);
  }

  void check_same_kind(const LoadedModel& from) const {
    if (from.record.model != model_->name())
      throw DataError(init_.place + " holds a " + from.record.model + " model, not " + model_->name());
    if (from.record.components != model_->components() || from.record.columns != model_->columns())
      throw DataError(fmt::format("{} has {} components of {} columns; this fit has {} of {}", init_.place,
                                  from.record.components, from.record.columns, model_->components(),
                                  model_->columns()));
  }

  // The first start where none has an objective yet.
  int best() const { return best_candidate(*model_, state_).value_or(0); }

  ModelRecord record_of(int candidate, const std::string& status) const {
    return record_of_fit(*model_, state_.candidates[static_cast<std::size_t>(candidate)], status, free_parameters_, request_,
                         source_);
  }

  // The last completed parameters, for a signal.
  void publish() {
    if (!context_.is_root() || !result_.wanted()) return;
    if (state_.candidates[static_cast<std::size_t>(best())].reason == StopReason::failed) return;
    result_.publish(record_of(best(), "unfinished"));
  }

  int conclude(const FitOutcome& outcome) {
    const Candidate& best = state_.candidates[static_cast<std::size_t>(outcome.best)];
    ModelRecord record = record_of(outcome.best, outcome.stopped ? "unfinished" : to_string(best.reason));
    if (request_.fit.on_degenerate == OnDegenerate::prune) {
      drop_pruned(*model_, record);
      const auto left = entry_.make(record.components, record.columns, inputs_.model_options);
      record.free_parameters = adapt_to_data(entry_, *left, inputs_.model_options, scan_.summary)->free_parameters();
    }
    agree(context_.communicator, [&] {
      if (context_.is_root()) result_.save(record);
    });
    if (!request_.times_file.empty()) save_times();
    if (context_.is_root()) print(record, outcome);
    return outcome.stopped ? status_stopped_on_request : 0;
  }

  void save_times() const {
    const std::vector<RankTimes> ranks = times_.gather(context_.communicator);
    agree(context_.communicator, [&] {
      if (!context_.is_root()) return;
      const std::string text = to_json(ranks);
      write_file_durably(request_.times_file, std::as_bytes(std::span(text)));
    });
  }

  void print(const ModelRecord& record, const FitOutcome& outcome) {
    progress_->finish();
    nlohmann::json result = {{"event", "result"},
                             {"model", record.model},
                             {"components", record.components},
                             {"columns", record.columns},
                             {"rows", record.rows},
                             {"weight", record.total_weight},
                             {"status", record.status},
                             {"iterations", record.iterations},
                             {"objective", record.objective_name},
                             {"total", record.trace.back()},
                             {"mean", record.trace.back() / record.total_weight},
                             {"best_start", outcome.best},
                             {"out", request_.out}};
    if (record.batch_rows > 0) result["mini_batch"] = record.batch_rows;
    if (!record.held_out.empty()) result["held_out_mean"] = record.held_out.back();
    progress_->log(json_text(result));
    int failed = 0;
    for (const Candidate& candidate : state_.candidates) failed += candidate.reason == StopReason::failed;
    if (failed > 0) progress_->note(fmt::format("{} of {} starts failed", failed, state_.candidates.size()));
    if (request_.json) {
      result.erase("event");
      std::printf("%s\n", json_text(result, 2).c_str());
      return;
    }
    const std::string of = record.batch_rows == 0 ? "" : record.held_out.empty() || outcome.stopped ? "about " : "by the rows held out ";
    std::printf("%s: %s after %d iterations, %s %s%.10g (mean %.10g)%s%s\n", record.model.c_str(),
                outcome.stopped ? "stopped on request" : record.status.c_str(), record.iterations,
                record.objective_name.c_str(), of.c_str(), record.trace.back(), record.trace.back() / record.total_weight,
                request_.out.empty() ? "" : " -> ", request_.out.c_str());
  }

  const FitRequest& request_;
  CommandContext& context_;
  const ModelEntry& entry_;
  const InitWords init_;
  DeviceChoice device_;
  FitOptions options_;
  std::unique_ptr<Progress> progress_;  // of the root
  JobCheckpoints checkpoints_;
  ResultFile result_;
  FitInputs inputs_;
  std::unique_ptr<Model> model_;  // with what the data decide, too, after the scan
  std::unique_ptr<Shard> shard_;
  Scan scan_;
  FitSource source_;
  FitState state_;
  Index free_parameters_ = 0;
  TimesRecorder times_;
};

}  // namespace

int run_fit(const FitRequest& request, CommandContext& context) { return FitJob(request, context).run(); }

}  // namespace tally
