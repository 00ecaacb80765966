#include "launch/select_job.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "algorithms/em_entropy.hpp"
#include "algorithms/em_scan.hpp"
#include "algorithms/em_start.hpp"
#include "comm/agreement.hpp"
#include "core/durable_file.hpp"
#include "core/error.hpp"
#include "launch/fit_rows.hpp"
#include "launch/job_checkpoints.hpp"
#include "launch/output.hpp"
#include "launch/progress.hpp"
#include "launch/repairs.hpp"
#include "launch/result_file.hpp"
#include "launch/signals.hpp"

namespace tally {
namespace {

// One of the models that are compared, and its starts.
struct Contender {
  FitRequest request;
  std::string shape;
  std::unique_ptr<Model> model;
  FitState state;
};

std::string words_of(const OptionValues& shape) {
  std::string words;
  for (const auto& [name, value] : shape) words += (words.empty() ? "" : " ") + value;
  return words;
}

class SelectJob final : public FitObserver {
 public:
  SelectJob(const SelectRequest& request, CommandContext& context)
      : request_(request),
        context_(context),
        entry_(context.registry.find(request.fit.model)),
        init_(init_of(request.fit, entry_)),
        checkpoints_(request.fit, context),
        result_(context.io, request.fit.out) {}

  int run() {
    check_request();
    open();
    read_and_scan();
    if (!resume()) start();
    std::vector<FitTask> tasks;
    for (Contender& contender : contenders_) tasks.push_back({contender.model.get(), &contender.state});
    publish();
    const bool stopped = fit_together(tasks, *shard_, scan_.summary, request_.fit.fit, context_.communicator, *this);
    compare();
    const std::optional<std::size_t> best = best_of(comparisons_, request_.criterion);
    if (!best) throw DataError("no model could be fitted; the first failed: " + comparisons_.front().failure);
    agree(context_.communicator, [&] {
      if (context_.is_root()) save(*best, stopped);
    });
    if (context_.is_root()) print(*best, stopped);
    return stopped ? status_stopped_on_request : 0;
  }

  void iterated(const IterationReport& report) override {
    if (progress_) progress_->iterated(report);
  }

  void repaired(int task, int candidate, const Degenerate& degenerate, int iteration) override {
    if (!progress_) return;
    const Contender& contender = contenders_[static_cast<std::size_t>(task)];
    const std::string start = request_.fit.restarts > 1 ? fmt::format(", start {}", candidate) : "";
    tell(*progress_, {task, candidate, iteration, degenerate, request_.fit.fit.on_degenerate,
                      fmt::format("{}{}{} components{}: ", contender.shape, contender.shape.empty() ? "" : ", ",
                                  contender.model->components(), start)});
  }

  void advanced(std::span<const FitTask>, bool stopping) override {
    ++iterations_;
    publish();
    checkpoints_.save(iterations_, stopping, [this] {
      Checkpoint checkpoint{record_of(leader().value_or(0), "unfinished"), {}, options_hash()};
      for (const Contender& contender : contenders_) checkpoint.states.push_back(contender.state);
      return checkpoint;
    });
  }

  bool stop_requested() override { return stop_was_requested(); }

 private:
  void check_request() const {
    if (request_.fit.restarts < 1) throw UsageError("--n-init must be at least 1");
    if (init_.from_file() || !init_.place.empty())
      throw UsageError("--init " + request_.fit.init + ": models of several shapes start from the data alone, by kmeans, k-means++, "
                       "random or random-from-data");
    parse_sample_start(init_.way);
    if (request_.fit.fit.on_degenerate == OnDegenerate::prune)
      throw UsageError("--on-degenerate prune: select compares numbers of components; fit prunes");
    if (request_.fit.resume && request_.fit.checkpoint_folder.empty())
      throw UsageError("--resume needs --checkpoint: the folder to resume from");
  }

  void open() {
    agree(context_.communicator, [&] {
      if (context_.is_root()) check_outputs();
      FitRequest largest = request_.fit;
      largest.components = request_.components.back();
      inputs_ = open_fit_inputs(largest, entry_, context_.io);
      make_contenders();
    });
    check_same_everywhere(*inputs_.rows, request_.fit, options_hash(), context_.communicator);
  }

  // Finds out before the work whether its result can be written.
  void check_outputs() {
    std::vector<std::string> inputs = request_.fit.data;
    if (!request_.fit.weights.empty()) inputs.push_back(request_.fit.weights);
    refuse_to_share({request_.fit.out, request_.plot, request_.fit.log_file}, inputs);
    result_.check();
    if (!request_.plot.empty()) {
      const DurableFile probe(request_.plot);
    }
    progress_ = std::make_unique<Progress>(request_.fit);
    checkpoints_.open(*progress_);
  }

  void make_contenders() {
    for (const OptionValues& shape : request_.shapes)
      for (const Index components : request_.components) {
        Contender& contender = contenders_.emplace_back();
        contender.request = request_.fit;
        contender.request.components = components;
        for (const auto& [name, value] : shape) contender.request.model_options[name] = value;
        contender.shape = words_of(shape);
        contender.model =
            make_fit_model(entry_, contender.request, inputs_.rows->columns(), contender.request.model_options);
        check_on_degenerate(*contender.model, request_.fit.fit.on_degenerate);
        if (!contender.model->larger_is_better())
          throw UsageError(entry_.name + " has no likelihood to compare numbers of components by; compare inertias of fits");
      }
    if (progress_) progress_->set_objective_name(contenders_.front().model->objective_name());
  }

  std::vector<const Model*> models() const {
    std::vector<const Model*> models;
    for (const Contender& contender : contenders_) models.push_back(contender.model.get());
    return models;
  }

  std::string options_hash() const { return hash_of_options(models(), request_.fit, init_); }

  void read_and_scan() {
    Communicator& communicator = context_.communicator;
    shard_ = shard_of_rank(request_.fit, inputs_, *inputs_.model, DeviceChoice{}, context_);
    if (progress_) {
      progress_->note(words_of_shard(*shard_, communicator.size()));
      progress_->note(fmt::format("{} models with {} {} each", contenders_.size(), request_.fit.restarts,
                                  request_.fit.restarts == 1 ? "start" : "starts"));
    }
    const Index sampled = sample_size(inputs_.rows->rows(), inputs_.rows->columns(), request_.components.back());
    scan_ = scan(*shard_, inputs_.model->domain(), sampled, static_cast<std::uint64_t>(request_.fit.seed), communicator);
    source_ = source_of_fit(scan_, inputs_, context_);
    for (Contender& contender : contenders_)
      contender.model = adapt_to_data(entry_, *contender.model, contender.request.model_options, scan_.summary);
    const Model& first = *contenders_.front().model;
    if (progress_ && !scan_.summary.observed_weight.empty()) progress_->note(words_of_missing(scan_.summary));
    if (progress_)
      for (const std::string& warning : first.warnings(scan_.summary)) progress_->note("warning: " + warning);
    if (std::any_of(contenders_.begin(), contenders_.end(),
                    [&](const Contender& each) { return each.model->scaling() != first.scaling(); }))
      return;  // rows stay raw, for each model to standardise
    agree(communicator, [&] {
      shard_->prepare({first.standardisation(), first.log_base_measure()}, [&] { communicator.pulse(); });
    });
  }

  void start() {
    KeptLabels kept;
    StartOptions options;
    options.start = parse_sample_start(init_.way);
    options.seed = static_cast<std::uint64_t>(request_.fit.seed);
    options.lanes = shard_->lanes();
    options.kept = &kept;
    for (Contender& contender : contenders_)
      contender.state.candidates = starts_from_sample(*contender.model, scan_, options, request_.fit.restarts, context_.io,
                                                      context_.communicator);
  }

  // Whether there was a checkpoint to go on from.
  bool resume() {
    std::optional<Checkpoint> found = checkpoints_.load(source_, options_hash(), models(), progress_.get());
    if (!found) return false;
    for (std::size_t m = 0; m < contenders_.size(); ++m) contenders_[m].state = std::move(found->states[m]);
    iterations_ = found->iteration();
    return true;
  }

  // The best start of a model, or its first where none has an objective.
  const Candidate& best_start(const Contender& contender) const {
    return contender.state.candidates[static_cast<std::size_t>(
        best_candidate(*contender.model, contender.state).value_or(0))];
  }

  // But for entropies.
  Comparison comparison_of(const Contender& contender) const {
    const Candidate& best = best_start(contender);
    Comparison comparison;
    comparison.shape = contender.shape;
    comparison.components = contender.model->components();
    comparison.free_parameters = contender.model->free_parameters();
    comparison.best_start = static_cast<int>(&best - contender.state.candidates.data());
    comparison.status = best.active() ? "unfinished" : to_string(best.reason);
    comparison.iterations = best.m_steps;
    for (const Candidate& each : contender.state.candidates) {
      if (each.reason != StopReason::failed) continue;
      ++comparison.failed_starts;
      if (comparison.failure.empty()) comparison.failure = each.failure;
    }
    if (comparison.failed()) return comparison;
    comparison.log_likelihood = best.trace.back();
    comparison.aic = aic_of(comparison.log_likelihood, comparison.free_parameters);
    comparison.bic = bic_of(comparison.log_likelihood, comparison.free_parameters, scan_.summary.total_weight);
    comparison.icl = comparison.bic;
    return comparison;
  }

  void compare() {
    std::vector<FittedModel> fitted;
    for (const Contender& contender : contenders_) {
      comparisons_.push_back(comparison_of(contender));
      if (!comparisons_.back().failed()) fitted.push_back({contender.model.get(), &best_start(contender).parameters});
    }
    if (fitted.empty()) return;
    const std::vector<double> entropies = assignment_entropies(fitted, *shard_, request_.fit.fit, context_.communicator);
    auto entropy = entropies.begin();
    for (Comparison& comparison : comparisons_) {
      if (comparison.failed()) continue;
      comparison.entropy = *entropy++;
      comparison.icl += 2 * comparison.entropy;
    }
  }

  // The best so far, by the criterion but for entropies.
  std::optional<std::size_t> leader() const {
    std::vector<Comparison> comparisons;
    for (const Contender& contender : contenders_)
      if (best_candidate(*contender.model, contender.state))
        comparisons.push_back(comparison_of(contender));
      else  // or it has no objective yet
        comparisons.emplace_back().status = to_string(StopReason::failed);
    return best_of(comparisons, request_.criterion);
  }

  // The best so far, for a signal.
  void publish() {
    if (!context_.is_root() || !result_.wanted()) return;
    if (const std::optional<std::size_t> best = leader()) result_.publish(record_of(*best, "unfinished"));
  }

  ModelRecord record_of(std::size_t number, const std::string& status) const {
    const Contender& contender = contenders_[number];
    return record_of_fit(*contender.model, best_start(contender), status, contender.model->free_parameters(),
                         contender.request, source_);
  }

  void save(std::size_t best, bool stopped) {
    result_.save(record_of(best, stopped ? "unfinished" : comparisons_[best].status));
    if (!request_.plot.empty()) {
      const std::string text =
          plot_of(comparisons_, request_.criterion, fmt::format("{} of {}", entry_.name, inputs_.rows->name()));
      write_file_durably(request_.plot, std::as_bytes(std::span(text)));
    }
  }

  void print(std::size_t best, bool stopped) {
    progress_->finish();
    nlohmann::json result = to_json(best, stopped);
    if (request_.fit.json) std::printf("%s\n", json_text(result, 2).c_str());
    result["event"] = "result";
    progress_->log(json_text(result));
    if (request_.fit.json) return;
    std::printf("%s", table_of(comparisons_, request_.criterion).c_str());
    const Comparison& chosen = comparisons_[best];
    std::printf("%s by %s: %s%s%ld components%s%s\n", stopped ? "stopped on request; best so far" : "best",
                to_string(request_.criterion), chosen.shape.c_str(), chosen.shape.empty() ? "" : ", ",
                static_cast<long>(chosen.components), request_.fit.out.empty() ? "" : " -> ", request_.fit.out.c_str());
  }

  nlohmann::json to_json(std::size_t best, bool stopped) const {
    nlohmann::json models = nlohmann::json::array();
    for (std::size_t m = 0; m < comparisons_.size(); ++m) {
      const Comparison& each = comparisons_[m];
      nlohmann::json entry = {{"components", each.components},
                              {"options", contenders_[m].model->options()},
                              {"status", each.status},
                              {"free_parameters", each.free_parameters},
                              {"failed_starts", each.failed_starts}};
      if (!each.failure.empty()) entry["failure"] = each.failure;
      if (!each.failed())
        entry.update({{"log_likelihood", each.log_likelihood},
                      {"bic", each.bic},
                      {"aic", each.aic},
                      {"icl", each.icl},
                      {"entropy", each.entropy},
                      {"iterations", each.iterations},
                      {"best_start", each.best_start}});
      models.push_back(std::move(entry));
    }
    return {{"model", entry_.name},
            {"data", source_.data},
            {"rows", source_.rows},
            {"weight", source_.total_weight},
            {"criterion", to_string(request_.criterion)},
            {"stopped", stopped},
            {"models", std::move(models)},
            {"best", best},
            {"out", request_.fit.out}};
  }

  const SelectRequest& request_;
  CommandContext& context_;
  const ModelEntry& entry_;
  const InitWords init_;
  std::unique_ptr<Progress> progress_;  // of the root
  JobCheckpoints checkpoints_;
  ResultFile result_;
  FitInputs inputs_;
  std::vector<Contender> contenders_;
  std::unique_ptr<Shard> shard_;
  Scan scan_;
  FitSource source_;
  std::int64_t iterations_ = 0;
  std::vector<Comparison> comparisons_;
};

}  // namespace

int run_select(const SelectRequest& request, CommandContext& context) { return SelectJob(request, context).run(); }

}  // namespace tally
