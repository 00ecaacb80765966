#include "launch/select_job.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "algorithms/em_entropy.hpp"
#include "algorithms/em_scan.hpp"
#include "algorithms/em_start.hpp"
#include "comm/agreement.hpp"
#include "core/durable_file.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "launch/checkpoint.hpp"
#include "launch/fit_rows.hpp"
#include "launch/folder_lock.hpp"
#include "launch/output.hpp"
#include "launch/progress.hpp"
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
      : request_(request), context_(context), entry_(context.registry.find(request.fit.model)) {}

  int run() {
    check_request();
    open();
    read_and_scan();
    if (!(request_.fit.resume && load_checkpoint())) start();
    std::vector<FitTask> tasks;
    for (Contender& contender : contenders_) tasks.push_back({contender.model.get(), &contender.state});
    const OnTermination save_on_termination([this] { save_unfinished(); });
    publish_snapshot();
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

  void advanced(std::span<const FitTask>, bool stopping) override {
    ++iterations_;
    if (context_.is_root()) publish_snapshot();
    if (request_.fit.checkpoint_folder.empty()) return;
    if (!stopping && iterations_ % request_.fit.checkpoint_every != 0) return;
    agree(context_.communicator, [&] {
      if (!context_.is_root()) return;
      CheckpointFolder::set_aside(std::exchange(damaged_checkpoints_, {}));
      Checkpoint checkpoint{record_of(leader().value_or(0), "unfinished"), {}, options_hash()};
      for (const Contender& contender : contenders_) checkpoint.states.push_back(contender.state);
      CheckpointFolder(context_.io, request_.fit.checkpoint_folder).save(checkpoint);
    });
  }

  bool stop_requested() override { return stop_was_requested(); }

 private:
  void check_request() const {
    if (request_.fit.restarts < 1) throw UsageError("--n-init must be at least 1");
    if (init_way().find(':') != std::string::npos)
      throw UsageError("--init " + init_way() + ": models of several shapes start from the data alone, by kmeans, k-means++, "
                       "random or random-from-data");
    parse_sample_start(init_way());
    if (request_.fit.resume && request_.fit.checkpoint_folder.empty())
      throw UsageError("--resume needs --checkpoint: the folder to resume from");
  }

  std::string init_way() const { return request_.fit.init.empty() ? entry_.default_init : request_.fit.init; }

  void open() {
    agree(context_.communicator, [&] {
      if (context_.is_root()) check_outputs();
      FitRequest largest = request_.fit;
      largest.components = request_.components.back();
      inputs_ = open_fit_inputs(largest, entry_, context_.io);
      make_contenders();
    });
    check_same_everywhere(*inputs_.rows, hash_of_request(), context_.communicator);
  }

  // Finds out before the work whether its result can be written.
  void check_outputs() {
    std::vector<std::string> inputs = request_.fit.data;
    if (!request_.fit.weights.empty()) inputs.push_back(request_.fit.weights);
    refuse_to_share({request_.fit.out, request_.plot, request_.fit.log_file}, inputs);
    for (const std::string& file : {request_.fit.out, request_.plot}) {
      if (file.empty()) continue;
      if (std::filesystem::is_directory(file)) throw DataError(file + " is a folder");
      const DurableFile probe(file);
    }
    Progress::Options options;
    options.quiet = request_.fit.quiet;
    options.log_file = request_.fit.log_file;
    options.max_iterations = request_.fit.fit.max_iterations;
    options.tolerance = request_.fit.fit.tolerance;
    progress_ = std::make_unique<Progress>(options);
    if (request_.fit.checkpoint_folder.empty()) return;
    const CheckpointFolder folder(context_.io, request_.fit.checkpoint_folder);
    folder.create();
    lock_ = std::make_unique<FolderLock>(request_.fit.checkpoint_folder, FolderLock::Waiting{
        [this] { context_.communicator.pulse(); }, [this](const std::string& text) { progress_->note(text); }});
    folder.remove_unfinished();
    if (!request_.fit.resume) folder.check_unused();
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
        if (!contender.model->larger_is_better())
          throw UsageError(entry_.name + " has no likelihood to compare numbers of components by; compare inertias of fits");
      }
    if (progress_) progress_->set_objective_name(contenders_.front().model->objective_name());
  }

  // Of all that decides which collectives come and what travels in them.
  std::uint64_t hash_of_request() const {
    Hasher hasher;
    hasher.add(std::string_view(options_hash()));
    hasher.add(request_.fit.fit.max_iterations);
    hasher.add(request_.fit.fit.tolerance);
    hasher.add(static_cast<int>(request_.fit.fit.precision));
    hasher.add(request_.fit.checkpoint_every);
    for (const bool given :
         {request_.fit.checkpoint_folder.empty(), request_.fit.resume, request_.fit.weights.empty()})
      hasher.add(static_cast<int>(given));
    return hasher.value();
  }

  std::string options_hash() const {
    Hasher hasher;
    for (const Contender& contender : contenders_) {
      hasher.add(std::string_view(contender.model->name()));
      for (const auto& [name, value] : contender.model->options()) {
        hasher.add(std::string_view(name));
        hasher.add(std::string_view(value));
      }
      hasher.add(contender.model->components());
    }
    hasher.add(std::string_view(init_way()));
    hasher.add(request_.fit.restarts);
    hasher.add(request_.fit.seed);
    hasher.add(static_cast<int>(in_float(request_.fit.fit.precision)));
    return hex_text(hasher.value());
  }

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
    for (Contender& contender : contenders_) {
      OptionValues options = contender.request.model_options;
      options.merge(contender.model->options_from(scan_.summary));
      contender.model = make_fit_model(entry_, contender.request, inputs_.rows->columns(), options);
      contender.model->set_standardisation(standardise_for(contender.model->scaling(), scan_.summary));
    }
    const Model& first = *contenders_.front().model;
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
    options.start = parse_sample_start(init_way());
    options.seed = static_cast<std::uint64_t>(request_.fit.seed);
    options.lanes = shard_->lanes();
    options.kept = &kept;
    for (Contender& contender : contenders_)
      for (options.restart = 0; options.restart < request_.fit.restarts; ++options.restart) {
        context_.communicator.pulse();
        Candidate& candidate = contender.state.candidates.emplace_back();
        try {
          candidate.parameters = start_from_sample(*contender.model, scan_, options, context_.io);
        } catch (const DataError& error) {  // the other starts may do better
          candidate.parameters.resize(static_cast<std::size_t>(contender.model->parameters().size()));
          candidate.reason = StopReason::failed;
          candidate.failure = error.what();
        }
      }
  }

  bool load_checkpoint() {
    std::optional<Checkpoint> found;
    agree(context_.communicator, [&] {
      found = CheckpointFolder(context_.io, request_.fit.checkpoint_folder).load_newest(damaged_checkpoints_);
      if (!found) return;
      if (found->record.fingerprint != source_.fingerprint)
        throw DataError("the data have changed since the checkpoint in " + request_.fit.checkpoint_folder +
                        "; resume with the same rows and weights, or start afresh in another folder");
      if (found->options_hash != options_hash())
        throw UsageError("the checkpoint in " + request_.fit.checkpoint_folder +
                         " is of other models, starts, another seed or precision; only --tol, --max-iter, --criterion and "
                         "where and how it runs may change");
      std::vector<const Model*> models;
      for (const Contender& contender : contenders_) models.push_back(contender.model.get());
      check_states(*found, models, request_.fit.restarts);
    });
    std::int64_t iteration = -1;
    if (found)
      for (const FitState& state : found->states) iteration = std::max<std::int64_t>(iteration, state.iteration);
    // Every rank must resume from the same one, or from none.
    std::vector<std::int64_t> extremes = {iteration, -iteration};
    context_.communicator.sum_and_max({}, extremes);
    if (extremes[0] != -extremes[1])
      throw DataError("the ranks see different checkpoints in " + request_.fit.checkpoint_folder +
                      "; it must be a folder that all hosts share");
    for (const DamagedCheckpoint& damaged : damaged_checkpoints_)
      if (progress_) progress_->warn("skipping a checkpoint: " + damaged.why);
    if (!found) {
      if (progress_) progress_->note("no checkpoint in " + request_.fit.checkpoint_folder + ": starting afresh");
      return false;
    }
    for (std::size_t m = 0; m < contenders_.size(); ++m) {
      contenders_[m].state = std::move(found->states[m]);
      let_go_on(contenders_[m].state, request_.fit.fit, scan_.summary.total_weight);
    }
    iterations_ = iteration;
    if (progress_) progress_->note(fmt::format("resuming after iteration {}", iteration));
    return true;
  }

  // The best start of a model, or its first where none has an objective.
  const Candidate& best_start(const Contender& contender) const {
    return contender.state.candidates[static_cast<std::size_t>(
        best_candidate(*contender.model, contender.state).value_or(0))];
  }

  void compare() {
    std::vector<FittedModel> fitted;
    for (const Contender& contender : contenders_) {
      const Candidate& best = best_start(contender);
      Comparison& comparison = comparisons_.emplace_back();
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
      if (comparison.failed()) continue;
      comparison.log_likelihood = best.trace.back();
      fitted.push_back({contender.model.get(), &best.parameters});
    }
    const std::vector<double> entropies =
        fitted.empty() ? std::vector<double>()
                       : assignment_entropies(fitted, *shard_, request_.fit.fit, context_.communicator);
    auto entropy = entropies.begin();
    for (Comparison& comparison : comparisons_) {
      if (comparison.failed()) continue;
      comparison.entropy = *entropy++;
      comparison.aic = aic_of(comparison.log_likelihood, comparison.free_parameters);
      comparison.bic = bic_of(comparison.log_likelihood, comparison.free_parameters, scan_.summary.total_weight);
      comparison.icl = comparison.bic + 2 * comparison.entropy;
    }
  }

  // The best so far, by the criterion but for entropies; none before the first iteration.
  std::optional<std::size_t> leader() const {
    std::optional<std::size_t> best;
    double least = 0;
    for (std::size_t m = 0; m < contenders_.size(); ++m) {
      const Model& model = *contenders_[m].model;
      if (!best_candidate(model, contenders_[m].state)) continue;
      const double log_likelihood = best_start(contenders_[m]).trace.back();
      const double value = request_.criterion == Criterion::aic
                               ? aic_of(log_likelihood, model.free_parameters())
                               : bic_of(log_likelihood, model.free_parameters(), scan_.summary.total_weight);
      if (best && !(value < least)) continue;
      best = m;
      least = value;
    }
    return best;
  }

  // For the signal thread.
  void publish_snapshot() {
    if (!context_.is_root() || request_.fit.out.empty()) return;
    const std::optional<std::size_t> best = leader();
    if (!best) return;
    auto record = std::make_shared<const ModelRecord>(record_of(*best, "unfinished"));
    const std::lock_guard lock(snapshot_mutex_);
    snapshot_ = std::move(record);
  }
  void save_unfinished() {
    const std::lock_guard lock(snapshot_mutex_);
    if (!snapshot_) return;
    save_model(*snapshot_);
    std::fprintf(stderr, "tally: wrote the best model so far to %s, marked unfinished\n", request_.fit.out.c_str());
  }

  void save_model(const ModelRecord& record) const {
    ArchiveWriter archive(context_.io);
    write_record(archive, record);
    archive.save(request_.fit.out);
  }

  ModelRecord record_of(std::size_t number, const std::string& status) const {
    const Contender& contender = contenders_[number];
    return record_of_fit(*contender.model, best_start(contender), status, contender.model->free_parameters(),
                         contender.request, source_);
  }

  void save(std::size_t best, bool stopped) {
    if (!request_.fit.out.empty()) {
      const std::lock_guard lock(snapshot_mutex_);
      save_model(record_of(best, stopped ? "unfinished" : comparisons_[best].status));
      snapshot_ = nullptr;  // a signal must not put it in the place of the result
    }
    if (!request_.plot.empty()) {
      const std::string text =
          plot_of(comparisons_, request_.criterion, fmt::format("{} of {}", entry_.name, inputs_.rows->name()));
      write_file_durably(request_.plot, std::as_bytes(std::span(text)));
    }
  }

  void print(std::size_t best, bool stopped) {
    progress_->finish();
    if (request_.fit.json) {
      std::printf("%s\n", json_text(to_json(best, stopped), 2).c_str());
      return;
    }
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
  std::unique_ptr<Progress> progress_;  // of the root
  std::unique_ptr<FolderLock> lock_;    // of the checkpoint folder; the root's
  FitInputs inputs_;
  std::vector<Contender> contenders_;
  std::unique_ptr<Shard> shard_;
  Scan scan_;
  FitSource source_;
  std::int64_t iterations_ = 0;
  std::vector<DamagedCheckpoint> damaged_checkpoints_;  // skipped, and in the way of the next one
  std::vector<Comparison> comparisons_;
  std::mutex snapshot_mutex_;
  std::shared_ptr<const ModelRecord> snapshot_;  // the best so far
};

}  // namespace

int run_select(const SelectRequest& request, CommandContext& context) { return SelectJob(request, context).run(); }

}  // namespace tally
