#include "algorithms/em_fit.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ctime>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>

#include "algorithms/bound_device_model.hpp"
#include "algorithms/em_exchange.hpp"
#include "comm/agreement.hpp"
#include "comm/device_wait.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"

namespace tally {
namespace {

__extension__ typedef __int128 WideInteger;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Of all threads of this process.
double processor_seconds() {
  timespec spent{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
  return static_cast<double>(spent.tv_sec) + 1e-9 * static_cast<double>(spent.tv_nsec);
}

// A sum on the devices, from what the host knows going there to the sum being here.
class SumOfPass final : public DeviceCollective {
 public:
  SumOfPass(DeviceCollective& sum, BoundModel& bound, Tally& tally, const std::optional<Failure>& failure)
      : sum_(sum), bound_(bound), tally_(tally), failure_(failure) {}
  const char* name() const noexcept override { return sum_.name(); }
  void start() override {
    if (failure_ && failure_->kind == ErrorKind::device) throw_error(failure_->kind, failure_->message);
    bound_.before_sum(tally_);
    sum_.start();
  }
  CollectiveState poll() override {
    const CollectiveState state = sum_.poll();
    if (state == CollectiveState::done) bound_.after_sum(tally_);
    return state;
  }
  void abort() noexcept override { sum_.abort(); }

 private:
  DeviceCollective& sum_;
  BoundModel& bound_;
  Tally& tally_;
  const std::optional<Failure>& failure_;  // of this rank's part: a broken device cannot take part in the sum
};

// The state of one pass and its sum over ranks, shared by the loop and the first M-step.
class Passes {
 public:
  Passes(const Model& model, Shard& shard, const DataSummary& summary, int candidates, const FitOptions& options,
         std::vector<int> exponents, Communicator& communicator)
      : model_(model),
        shard_(shard),
        options_(options),
        communicator_(communicator),
        exponents_(std::move(exponents)),
        exchange_(shard, communicator),
        blocks_(shard.plan().block_count()) {
    if (exponents_.empty())
      for (const double bound : model.bounds(summary))
        exponents_.push_back(
            make_grid(bound * summary.largest_weight * static_cast<double>(shard.plan().most_rows()), 0).exponent);
    tally_.emplace(candidates, model.statistics(), grids(), options.summation);
    const auto bind = [&] {
      bound_ = bind_model(model, {options.precision, shard.lanes(), candidates, options.summation, options.device,
                                  options.row_memory});
    };
    // A device of one rank alone may have too little memory.
    if (options.device)
      agree(communicator, bind);
    else
      bind();
  }

  Tally& tally() { return *tally_; }
  // Which row the last pass found impossible under a candidate, for an error message; "some row" where that is not known.
  // Collective.
  std::string impossible_row(int candidate) {
    constexpr std::int64_t none = std::numeric_limits<std::int64_t>::max();
    const Index mine = bound_->impossible_row(candidate);
    std::int64_t first = mine < 0 ? -none : -mine;
    communicator_.sum_and_max({}, std::span(&first, 1));
    if (first == -none) return "some row";
    std::string name = shard_.inputs().rows->where(-first);
    if (const Sequences* sequences = shard_.plan().sequences()) {
      const Index sequence = sequences->sequence_of(-first);
      name += ", step " + std::to_string(-first - sequences->first_row(sequence)) + " of sequence " +
              std::to_string(sequence) + " (counted from 0),";
    }
    return name;
  }
  const std::vector<int>& exponents() const { return exponents_; }
  // Where the time of the last pass went.
  void report_times(IterationReport& report) const {
    report.read_seconds = read_seconds_;
    report.compute_seconds = std::max(0.0, pass_seconds_ - read_seconds_ - exchange_.seconds());
    report.reduce_seconds = reduce_seconds_ + exchange_.seconds();
    report.processor_seconds = processor_seconds_;
  }

  // One pass and its one sum; repeated with wider grids where a value did not fit.
  void run(std::span<const int> candidates, PassKind kind, const std::vector<const std::vector<double>*>& parameters,
           bool stop_requested) {
    reduce_seconds_ = 0;
    const double read_before = shard_.read_seconds(), processor_before = processor_seconds();
    const auto preparing = std::chrono::steady_clock::now();
    exchange_.begin();
    exchange_.locally([&] {
      for (std::size_t i = 0; i < candidates.size(); ++i) bound_->prepare(candidates[i], *parameters[i]);
    });
    pass_seconds_ = seconds_since(preparing);
    Hasher hasher;
    for (const auto* values : parameters) hasher.add(std::span<const double>(*values));
    hasher.add(std::span<const int>(exponents_));
    const std::uint64_t hash = hasher.value();
    for (;;) {
      tally_->reset();
      const auto start = std::chrono::steady_clock::now();
      const auto pulse = [this] { communicator_.pulse(); };
      bound_->exchange_messages(shard_, candidates, kind, exchange_, pulse);
      exchange_.locally([&] { bound_->accumulate(shard_, candidates, kind, *tally_, pulse); });
      const std::optional<Failure>& failure = exchange_.failure();
      if (failure) tally_->counter(Tally::failures) = 1;
      pass_seconds_ += seconds_since(start);
      read_seconds_ = shard_.read_seconds() - read_before;
      processor_seconds_ = processor_seconds() - processor_before;
      tally_->counter(Tally::stop_requests) = stop_requested;
      write_hash(hash);
      const auto reducing = std::chrono::steady_clock::now();
      tally_->carry();
      sum_over_ranks(failure);
      if (options_.summation == Summation::plain) communicator_.sum(tally_->plain_buffer());
      reduce_seconds_ += seconds_since(reducing);
      check_hash(hash);
      if (tally_->counter(Tally::failures) > 0) spread_error(communicator_, failure);
      if (tally_->counter(Tally::misfits) == 0) break;
      widen_grids();
    }
    tally_->carry();
  }

 private:
  std::vector<Grid> grids() const {
    std::vector<Grid> result;
    const auto headroom = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(blocks_)));
    for (const int exponent : exponents_) result.push_back({exponent, headroom});
    return result;
  }

  // Where the statistics are: on the devices, or here. What a device throws on its way is told to all ranks too.
  void sum_over_ranks(const std::optional<Failure>& failure) {
    if (DeviceCollective* const sum = bound_->sum_over_ranks()) {
      SumOfPass operation(*sum, *bound_, *tally_, failure);
      wait_for(operation, communicator_);
    } else {
      communicator_.sum(tally_->buffer());
    }
  }

  // All R ranks agree on a number h exactly when R sum h^2 = (sum h)^2; pieces of 21 bits keep the sums in range.
  void write_hash(std::uint64_t hash) {
    for (int piece = 0; piece < 3; ++piece) {
      const auto h = static_cast<std::int64_t>(hash >> (21 * piece) & 0x1FFFFF);
      tally_->counter(static_cast<Tally::Counter>(Tally::hash_0 + piece)) = h;
      tally_->counter(static_cast<Tally::Counter>(Tally::square_0 + piece)) = h * h;
    }
  }
  void check_hash(std::uint64_t hash) {
    for (int piece = 0; piece < 3; ++piece) {
      const WideInteger sum = tally_->counter(static_cast<Tally::Counter>(Tally::hash_0 + piece));
      const WideInteger squares = tally_->counter(static_cast<Tally::Counter>(Tally::square_0 + piece));
      if (sum * sum != squares * communicator_.size()) name_the_odd_host(hash);
    }
  }
  [[noreturn]] void name_the_odd_host(std::uint64_t hash) {
    std::vector<std::byte> mine(sizeof hash);
    std::memcpy(mine.data(), &hash, sizeof hash);
    const std::string& host = communicator_.host_name();
    mine.insert(mine.end(), reinterpret_cast<const std::byte*>(host.data()),
                reinterpret_cast<const std::byte*>(host.data() + host.size()));
    const auto all = communicator_.gather(mine);
    std::optional<Failure> verdict;
    if (communicator_.rank() == 0) {
      const auto hash_of = [&](std::size_t r) {
        std::uint64_t value = 0;
        std::memcpy(&value, all[r].data(), sizeof value);
        return value;
      };
      std::size_t odd = 0, fewest = all.size() + 1;
      for (std::size_t r = 0; r < all.size(); ++r) {
        std::size_t same = 0;
        for (std::size_t s = 0; s < all.size(); ++s) same += hash_of(s) == hash_of(r);
        if (same < fewest) {
          fewest = same;
          odd = r;
        }
      }
      const std::string name(reinterpret_cast<const char*>(all[odd].data()) + sizeof hash, all[odd].size() - sizeof hash);
      verdict = Failure{ErrorKind::communication,
                        "the ranks hold different parameters: rank " + std::to_string(odd) + " on " + name +
                            " differs from the others; use the same kind of processor and the same libraries everywhere"};
    }
    spread_error(communicator_, verdict);
  }

  // The rare event: a value outgrew its field's grid somewhere. All ranks take the widest exponents.
  void widen_grids() {
    std::vector<std::int64_t> needed;
    for (std::size_t f = 0; f < exponents_.size(); ++f)
      needed.push_back(std::max<std::int64_t>(exponents_[f], tally_->reports()[f].largest_exponent));
    communicator_.sum_and_max({}, needed);
    for (std::size_t f = 0; f < exponents_.size(); ++f) exponents_[f] = static_cast<int>(needed[f]);
    tally_->set_grids(grids());
  }

  const Model& model_;
  Shard& shard_;
  const FitOptions& options_;
  Communicator& communicator_;
  std::vector<int> exponents_;
  RankExchange exchange_;
  Index blocks_;
  std::optional<Tally> tally_;
  std::unique_ptr<BoundModel> bound_;
  double pass_seconds_ = 0, read_seconds_ = 0, reduce_seconds_ = 0, processor_seconds_ = 0;
};

bool better(const Model& model, double a, double b) { return model.larger_is_better() ? a > b : a < b; }

// Takes the objective of the E-step just done and says whether the candidate ends with it.
void judge(Candidate& candidate, double objective, double weight, const FitOptions& options) {
  if (!candidate.trace.empty() && options.tolerance > 0 &&
      std::abs(objective - candidate.trace.back()) / weight < options.tolerance)
    candidate.reason = StopReason::converged;
  else if (candidate.m_steps >= options.max_iterations)
    candidate.reason = StopReason::iteration_limit;
  candidate.trace.push_back(objective);
}

}  // namespace

const char* to_string(StopReason reason) {
  switch (reason) {
    case StopReason::running: return "running";
    case StopReason::converged: return "converged";
    case StopReason::fixed_point: return "fixed point";
    case StopReason::iteration_limit: return "iteration limit";
    case StopReason::failed: return "failed";
  }
  return "";
}

std::optional<int> best_candidate(const Model& model, const FitState& state) {
  const Candidate* best = nullptr;
  for (const Candidate& candidate : state.candidates) {
    if (candidate.reason == StopReason::failed || candidate.trace.empty()) continue;
    if (!best || better(model, candidate.trace.back(), best->trace.back())) best = &candidate;
  }
  if (!best) return std::nullopt;
  return static_cast<int>(best - state.candidates.data());
}

FitOutcome fit(const Model& model, Shard& shard, const DataSummary& summary, FitState& state, const FitOptions& options,
               Communicator& communicator, FitObserver& observer) {
  const auto count = static_cast<int>(state.candidates.size());
  Passes passes(model, shard, summary, count, options, state.exponents, communicator);
  std::vector<double> statistics(static_cast<std::size_t>(model.statistics().size()));
  FitOutcome outcome;
  for (;;) {
    std::vector<int> running;
    std::vector<const std::vector<double>*> parameters;
    for (int c = 0; c < count; ++c) {
      const Candidate& candidate = state.candidates[static_cast<std::size_t>(c)];
      if (!candidate.active()) continue;
      running.push_back(c);
      parameters.push_back(&candidate.parameters);
    }
    if (running.empty()) break;
    passes.run(running, PassKind::expectation, parameters, observer.stop_requested());
    state.exponents = passes.exponents();
    const bool stopping = passes.tally().counter(Tally::stop_requests) > 0;
    IterationReport report;
    report.iteration = state.iteration;
    report.running = static_cast<int>(running.size());
    report.rows = summary.rows;
    passes.report_times(report);
    report.best = -1;
    const auto maximizing = std::chrono::steady_clock::now();
    for (const int c : running) {
      Candidate& candidate = state.candidates[static_cast<std::size_t>(c)];
      if (passes.tally().non_finite(c) > 0) {
        candidate.reason = StopReason::failed;
        candidate.failure = "the statistics of iteration " + std::to_string(state.iteration) +
                            " are not finite: " + passes.impossible_row(c) +
                            " is impossible under the parameters, or numbers leave their range (--device cpu has the widest)";
        continue;
      }
      const double objective = model.objective_in_user_units(passes.tally().objective(c), summary.total_weight);
      if (!std::isfinite(objective)) {
        candidate.reason = StopReason::failed;
        candidate.failure = std::isinf(objective) && !model.larger_is_better()
                                ? "the " + model.objective_name() + " overflows double precision; scale the data down"
                                : "the " + model.objective_name() + " is " + std::to_string(objective) + " at iteration " +
                                      std::to_string(state.iteration) + ": " + passes.impossible_row(c) +
                                      " is impossible under the parameters; start from others";
        continue;
      }
      judge(candidate, objective, summary.total_weight, options);
      if (report.best < 0 || better(model, objective / summary.total_weight, report.objective)) {
        report.best = c;
        report.objective = objective / summary.total_weight;
        const std::size_t entries = candidate.trace.size();
        report.change = entries < 2 ? std::numeric_limits<double>::quiet_NaN()
                                    : (objective - candidate.trace[entries - 2]) / summary.total_weight;
      }
      if (!candidate.active()) continue;
      passes.tally().statistics(c, statistics);
      std::vector<double> updated = candidate.parameters;
      try {
        model.maximize(statistics, summary.total_weight, updated);
      } catch (const DataError& error) {
        candidate.reason = StopReason::failed;
        candidate.failure = std::string(error.what()) + " (iteration " + std::to_string(state.iteration) + ")";
        continue;
      }
      if (model.stops_at_fixed_point() && updated == candidate.parameters) {
        candidate.reason = StopReason::fixed_point;
        continue;
      }
      candidate.parameters = std::move(updated);
      ++candidate.m_steps;
    }
    ++state.iteration;
    report.maximize_seconds = seconds_since(maximizing);
    if (report.best >= 0) observer.iterated(report);
    const bool ended = std::none_of(state.candidates.begin(), state.candidates.end(),
                                    [](const Candidate& candidate) { return candidate.active(); });
    observer.advanced(state, stopping || ended);
    if (stopping && !ended) {
      outcome.stopped = true;
      break;
    }
  }
  const std::optional<int> best = best_candidate(model, state);
  if (!best) throw DataError(state.candidates.front().failure);
  outcome.best = *best;
  return outcome;
}

std::vector<double> fit_given(const Model& model, Shard& shard, const DataSummary& summary, const FitOptions& options,
                              Communicator& communicator) {
  std::vector<double> parameters(static_cast<std::size_t>(model.parameters().size()));
  model.set_defaults(parameters);
  Passes passes(model, shard, summary, 1, options, {}, communicator);
  const int first[] = {0};
  passes.run(first, PassKind::given, {&parameters}, false);
  if (passes.tally().non_finite(0) > 0) throw DataError("the statistics of the first M-step are not finite");
  std::vector<double> statistics(static_cast<std::size_t>(model.statistics().size()));
  passes.tally().statistics(0, statistics);
  model.maximize_start(statistics, summary.total_weight, parameters);
  return parameters;
}

}  // namespace tally
