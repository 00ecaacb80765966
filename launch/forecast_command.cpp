#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "algorithms/latent/chain.hpp"
#include "comm/agreement.hpp"
#include "core/archive.hpp"
#include "core/error.hpp"
#include "launch/context.hpp"
#include "launch/evaluation.hpp"
#include "launch/option_checks.hpp"
#include "launch/output.hpp"

namespace tally {
namespace {

struct ForecastRequest {
  EvaluationRequest evaluation;
  std::string out;
  Index steps = 1;
};

// Mean and variance of what states emit, also where each emits a mixture.
class Observations {
 public:
  explicit Observations(const LoadedModel& loaded) : moments_(loaded.model->moments(loaded.parameters)) {
    const auto found = loaded.record.parameters.find("mixture_weights");
    if (found == loaded.record.parameters.end()) return;
    mixtures_ = found->second.shape[1];
    mixture_weights_ = found->second.values;
  }

  Index width() const { return moments_.width; }

  // Adds a row to each of these, where the state has this distribution (K).
  void append(std::span<const double> states, std::vector<double>& means, std::vector<double>& variances) const {
    const auto W = static_cast<std::size_t>(moments_.width);
    std::vector<double> weights(states.size() * static_cast<std::size_t>(mixtures_));
    for (std::size_t c = 0; c < weights.size(); ++c)
      weights[c] = states[c / static_cast<std::size_t>(mixtures_)] * (mixtures_ > 1 ? mixture_weights_[c] : 1);
    for (std::size_t w = 0; w < W; ++w) {
      double mean = 0, variance = 0;
      for (std::size_t c = 0; c < weights.size(); ++c) mean += weights[c] * moments_.mean[c * W + w];
      for (std::size_t c = 0; c < weights.size(); ++c) {
        const double difference = moments_.mean[c * W + w] - mean;
        variance += weights[c] * (moments_.variance[c * W + w] + difference * difference);
      }
      means.push_back(mean);
      variances.push_back(variance);
    }
  }

 private:
  const Moments moments_;
  Index mixtures_ = 1;
  std::vector<double> mixture_weights_;
};

// Says of every sequence what comes after its last step.
class ForecastJob {
 public:
  ForecastJob(const ForecastRequest& request, CommandContext& context)
      : request_(request),
        context_(context),
        evaluation_(request.evaluation, context),
        observations_(evaluation_.loaded()) {
    if (!evaluation_.sequences())
      throw UsageError(request.evaluation.model + " is a " + evaluation_.loaded().record.model +
                       ": its rows are independent, and none says what comes next");
    check_size();
    agree(context_.communicator, [&] {
      if (!context_.is_root()) return;
      std::vector<std::string> inputs = request.evaluation.data;
      inputs.push_back(request.evaluation.model);
      if (!request.evaluation.lengths.empty()) inputs.push_back(request.evaluation.lengths);
      refuse_to_replace(request.out, inputs);
    });
  }

  void run() {
    filter();
    agree(context_.communicator, [&] {
      if (context_.is_root()) write();
    });
  }

 private:
  void check_size() const {
    const Index S = sequences().count(), H = request_.steps;
    const Index bytes_of_a_step = S * (states() + 2 * observations_.width()) * static_cast<Index>(sizeof(double));
    if (H > std::numeric_limits<Index>::max() / bytes_of_a_step)
      throw UsageError(fmt::format("--steps {}: what follows {} {} would take {:.3g} bytes; ask for fewer steps", H, S,
                                   S == 1 ? "sequence" : "sequences",
                                   static_cast<double>(H) * static_cast<double>(bytes_of_a_step)));
  }

  const Sequences& sequences() const { return *evaluation_.sequences(); }
  Index states() const { return evaluation_.loaded().record.components; }

  // The distribution of the last state of every sequence, for the root. Ranks hold rows in order, and so sequences.
  void filter() {
    const BlockRange blocks = evaluation_.blocks_of_this_rank();
    const BlockPlan plan = evaluation_.rounds(1).plan;
    const Index K = states();
    const auto ended_before = [&](Index row) { return sequences().sequence_of(row); };
    const Index first = ended_before(plan.first_row(blocks.first)), last = ended_before(plan.first_row(blocks.last));
    std::vector<double> mine(static_cast<std::size_t>((last - first) * K));
    BoundModel::Wanted wanted;
    wanted.responsibilities = wanted.filtered = true;
    evaluation_.run(blocks, wanted, [&](Index row, Index count, const RowResults& results) {
      for (Index s = ended_before(row); s < ended_before(row + count); ++s)
        std::copy_n(results.responsibilities + (sequences().first_row(s + 1) - 1 - row) * K, K,
                    mine.begin() + (s - first) * K);
    });
    for (const auto& piece : context_.communicator.gather(std::as_bytes(std::span(mine)))) {
      const auto* const values = reinterpret_cast<const double*>(piece.data());
      last_.insert(last_.end(), values, values + piece.size() / sizeof(double));
    }
  }

  void write() const {
    const LoadedModel& loaded = evaluation_.loaded();
    const Index S = sequences().count(), H = request_.steps, K = states(), D = loaded.record.columns;
    const MatrixView<const double> transitions(loaded.record.parameters.at("transmat").values.data(), K, K);
    Array ahead{{S, H, K}, std::vector<double>(static_cast<std::size_t>(S * H * K))};
    std::vector<double> means, variances;
    for (Index s = 0; s < S; ++s) {
      const std::span<const double> now(last_.data() + s * K, static_cast<std::size_t>(K));
      if (std::ranges::all_of(now, [](double p) { return p == 0; }))
        throw DataError(fmt::format("sequence {} (counted from 0) is impossible under {}: nothing follows from it", s,
                                    loaded.record.model));
      const MatrixView<double> out(ahead.values.data() + s * H * K, H, K);
      forecast_states(transitions, now, out);
      for (Index h = 0; h < H && observations_.width() > 0; ++h)
        observations_.append({out.row(h), static_cast<std::size_t>(K)}, means, variances);
    }
    ArchiveWriter archive(context_.io);
    archive.put("/states", ahead);
    if (observations_.width() == D) {
      archive.put("/means", {{S, H, D}, std::move(means)});
      archive.put("/variances", {{S, H, D}, std::move(variances)});
    } else if (observations_.width() > 0) {
      archive.put("/probabilities", {{S, H, D, observations_.width() / D}, std::move(means)});
    }
    archive.save(request_.out);
    fmt::print("forecast {} {} after {} {} of {} -> {}\n", H, H == 1 ? "step" : "steps", S,
               S == 1 ? "sequence" : "sequences", evaluation_.rows().name(), request_.out);
  }

  const ForecastRequest& request_;
  CommandContext& context_;
  Evaluation evaluation_;
  const Observations observations_;
  std::vector<double> last_;  // (sequences, K), on the root
};

}  // namespace

void add_forecast_command(CLI::App& app, const Choose& choose) {
  CLI::App* command = app.add_subcommand("forecast", "Write what follows sequences: states, and what they emit");
  const auto request = std::make_shared<ForecastRequest>();
  add_evaluation_options(*command, request->evaluation);
  command->add_option("--steps", request->steps, "How many steps ahead")->capture_default_str()->check(whole_number_from(1));
  command->add_option("-o,--out", request->out,
                      "File to write: /states (sequences, steps, states), and /means and /variances, or /probabilities of "
                      "symbols")
      ->required();
  command->callback([request, choose] {
    choose([request](CommandContext& context) {
      ForecastJob(*request, context).run();
      return 0;
    });
  });
}

}  // namespace tally
