#include "launch/device_check.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <utility>

#include "algorithms/bound_device_model.hpp"
#include "algorithms/em_exchange.hpp"
#include "algorithms/em_fit.hpp"
#include "algorithms/em_scan.hpp"
#include "algorithms/tolerances.hpp"
#include "comm/agreement.hpp"
#include "comm/partition.hpp"
#include "comm/single_process.hpp"
#include "core/error.hpp"
#include "core/memory_rows.hpp"
#include "launch/resources.hpp"

namespace tally {
namespace {

constexpr int iterations = 5;
constexpr int many_lanes = 4;
constexpr Index one_byte = 1;  // room for no rows

double largest_of(std::span<const double> values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

// The largest difference, relative to the largest expected number; NaN where something is not finite.
double difference(std::span<const double> found, std::span<const double> expected) {
  if (found.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double apart = std::abs(found[i] - expected[i]);
    if (!(apart <= std::numeric_limits<double>::max())) return std::numeric_limits<double>::quiet_NaN();
    largest = std::max(largest, apart);
  }
  const double scale = largest_of(expected);
  return scale > 0 ? largest / scale : largest;
}

// The same, field by field: the largest of them.
double difference_of_fields(const Layout& layout, std::span<const double> found, std::span<const double> expected) {
  double largest = 0;
  for (const Field& field : layout.fields()) {
    const double of_field = difference(field.in(found), field.in(expected));
    if (!(of_field <= largest)) largest = of_field;
    if (std::isnan(largest)) return largest;
  }
  return largest;
}

// k-means may stand still an iteration earlier or later: its trace goes on as it ended.
std::vector<double> whole_trace(const Candidate& candidate) {
  std::vector<double> trace = candidate.trace;
  trace.resize(iterations + 1, trace.empty() ? 0 : trace.back());
  return trace;
}

using Bits = std::vector<std::uint64_t>;
void append_bits(Bits& bits, std::span<const double> values) {
  for (const double value : values) bits.push_back(std::bit_cast<std::uint64_t>(value));
}
Bits bits_of(const Candidate& candidate) {
  Bits bits;
  append_bits(bits, candidate.parameters);
  append_bits(bits, candidate.trace);
  return bits;
}
double count_differences(const Bits& a, const Bits& b) {
  double count = std::abs(static_cast<double>(a.size()) - static_cast<double>(b.size()));
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) count += a[i] != b[i];
  return count;
}

struct RowValues {
  std::vector<std::int32_t> labels;
  std::vector<double> objectives, responsibilities;

  Bits bits() const {
    Bits bits(labels.begin(), labels.end());
    append_bits(bits, objectives);
    append_bits(bits, responsibilities);
    return bits;
  }
};

// Keeps the worst result of each check.
void take(std::vector<CheckResult>& results, CheckResult result) {
  const auto found = std::find_if(results.begin(), results.end(),
                                  [&](const CheckResult& known) { return known.check == result.check; });
  if (found == results.end())
    results.push_back(std::move(result));
  else if (result.severity() > found->severity())
    *found = std::move(result);
}

// The model with each choice of these options. What the data are like is varied for mixtures in double precision alone, to save
// time.
void add_choices(CheckedModel model, std::span<const ModelOption> options, std::vector<CheckedModel>& models) {
  const auto with_choices = std::ranges::find_if(options, [](const ModelOption& option) { return !option.choices.empty(); });
  if (with_choices == options.end()) {
    models.push_back(std::move(model));
    return;
  }
  for (const std::string& choice : with_choices->choices) {
    const bool varied = with_choices->of_data && choice != with_choices->default_value;
    if (varied && (model.entry->of_sequences || model.precision != Precision::double_precision)) continue;
    if (varied || !with_choices->of_data) model.options[with_choices->name] = choice;
    add_choices(model, {with_choices + 1, options.end()}, models);
  }
}

// What a chain starts from: labels that follow each other, and a prior by which every transition stays possible.
OptionValues start_options(const CheckedModel& checked) {
  OptionValues options = checked.options;
  if (checked.entry->of_sequences) options.insert({{"count-transitions", "true"}, {"transmat-prior", "2"}});
  return options;
}

}  // namespace

double CheckResult::severity() const noexcept {
  if (!failure.empty() || !(measured <= std::numeric_limits<double>::max()))
    return std::numeric_limits<double>::infinity();
  return tolerance > 0 ? measured / tolerance : measured > 0 ? std::numeric_limits<double>::max() : 0;
}

std::vector<CheckedModel> models_to_check(const Registry& registry, const std::string& words, const std::string& precision) {
  const std::size_t space = words.find(' ');
  const std::string name = words.substr(0, space), chosen = space == std::string::npos ? "" : words.substr(space + 1);
  if (!name.empty()) registry.find(name);  // an error that lists what there is
  std::vector<Precision> precisions{Precision::double_precision, Precision::single_precision, Precision::tf32};
  if (!precision.empty()) precisions = {precision_named(precision)};
  std::vector<CheckedModel> models;
  for (const Precision each : precisions)
    for (const ModelEntry& entry : registry.entries()) {
      if (!name.empty() && entry.name != name) continue;
      if (!entry.of_sequences) {
        add_choices({&entry, {}, each}, entry.options, models);
        continue;
      }
      for (const EmissionEntry& emission : registry.emissions())
        if (chosen.empty() || emission.word == chosen)
          add_choices({&entry, {{"emission", emission.word}}, each}, emission.options, models);
    }
  if (models.empty() || (!chosen.empty() && !models.front().entry->of_sequences))
    throw UsageError("--model " + words + ": " + name + " has no emission '" + chosen + "'");
  return models;
}

// Few components in some columns, with weights and, of sequences, one that is cut; and many components in few columns.
struct DeviceCheck::Shape {
  Index components, columns;
  bool weighted, cut;
};

// Where and how a fit runs.
struct DeviceCheck::Place {
  Device* device = nullptr;  // null: the CPU
  int lanes = 1;
  bool streamed = false;
};

// One model on one table: what the CPU makes of it, once, and what a device does.
class DeviceCheck::Problem {
 public:
  Problem(const CheckedModel& checked, const Shape& shape, IoExecutor& io)
      : precision_(checked.precision),
        io_(io),
        make_([checked, shape](const OptionValues& options) {
          return checked.entry->make(checked.entry->has_components ? shape.components : 1, shape.columns, options);
        }),
        options_(start_options(checked)),
        model_(make_(options_)) {}

  const Model& model() const { return *model_; }
  Precision precision() const { return precision_; }

  // Scans the rows and takes what the CPU says.
  void prepare(const PlantedRows& planted) {
    planted_ = &planted;
    const Place cpu{nullptr, default_threads(), false};
    const MemoryRows rows(planted.matrix(), "planted rows"), weights = weight_rows();
    Shard shard(io_, Inputs{&rows, weighted(&weights), nullptr}, plan_of(cpu), {0, plan_of(cpu).block_count()},
                options_of(cpu));
    const Scan seen = scan(shard, model_->domain(), sample_size(planted.rows(), planted.columns, model_->components()),
                           1, single_);
    summary_ = seen.summary;
    for (const auto& [name, value] : model_->options_from(summary_)) options_[name] = value;
    model_ = make_(options_);
    model_->set_standardisation(standardise_for(model_->scaling(), summary_));
    for (std::uint64_t seed = 0; seed < 3; ++seed) starts_.push_back(start(seed, cpu));
    expected_ = fit_alone({0}, cpu).front();
    expected_rows_ = evaluate(expected_.parameters, cpu);
  }

  const std::vector<double>& start_of(std::uint64_t seed) const { return starts_[seed]; }
  const Candidate& expected() const { return expected_; }
  const RowValues& expected_rows() const { return expected_rows_; }
  // The bits of one device alone, which all ranks together must come to.
  std::optional<Bits> alone;

  // The first M-step, from labels.
  std::vector<double> start(std::uint64_t seed, const Place& place) {
    std::vector<double> labels = planted_->blurred_labels(seed);
    for (double& label : labels) label = std::min(label, static_cast<double>(model_->components() - 1));
    const MemoryRows given({labels.data(), planted_->rows(), 1}, "planted labels");
    std::vector<double> parameters;
    with_shard(place, &given, single_,
               [&](Shard& shard) { parameters = fit_given(*model_, shard, summary_, fit_options(place), single_); });
    return parameters;
  }

  // Candidates from these starts, fitted together. Collective over the communicator.
  std::vector<Candidate> fit_together(const std::vector<std::uint64_t>& seeds, const Place& place,
                                      Communicator& communicator) {
    FitState state;
    for (const std::uint64_t seed : seeds) state.candidates.emplace_back().parameters = starts_[seed];
    FitObserver silent;
    with_shard(place, nullptr, communicator, [&](Shard& shard) {
      fit(*model_, shard, summary_, state, fit_options(place), communicator, silent);
    });
    return state.candidates;
  }
  std::vector<Candidate> fit_alone(const std::vector<std::uint64_t>& seeds, const Place& place) {
    return fit_together(seeds, place, single_);
  }

  RowValues evaluate(std::span<const double> parameters, const Place& place) {
    const auto rows = static_cast<std::size_t>(planted_->rows());
    const Index K = model_->components();
    RowValues all{std::vector<std::int32_t>(rows), std::vector<double>(rows),
                  std::vector<double>(rows * static_cast<std::size_t>(K))};
    const auto keep = [&](Index first, Index count, const RowResults& results) {
      std::copy_n(results.labels, count, all.labels.begin() + first);
      std::copy_n(results.objectives, count, all.objectives.begin() + first);
      std::copy_n(results.responsibilities, count * K, all.responsibilities.begin() + first * K);
    };
    with_shard(place, nullptr, single_, [&](Shard& shard) {
      const auto bound = bind_model(*model_, {precision_, place.lanes, 1, Summation::exact, place.device, 0});
      bound->prepare(0, parameters);
      RankExchange exchange(shard, single_);
      bound->exchange_messages(shard, std::array{0}, PassKind::evaluation, exchange, [] {});
      exchange.rethrow();
      bound->evaluate(shard, {true, true, true}, keep, [] {});
    });
    return all;
  }

 private:
  MemoryRows weight_rows() const {
    return MemoryRows({planted_->weights.data(), planted_->rows(), 1}, "planted weights");
  }
  const RowSource* weighted(const RowSource* weights) const { return planted_->weights.empty() ? nullptr : weights; }
  BlockPlan plan_of(const Place& place) const {
    const Index columns = planted_->columns;
    if (const auto cut = model_->sequence_cut())
      return BlockPlan::of_sequences(planted_->sequences, cut->piece_steps, cut->block_rows);
    return BlockPlan::uniform(planted_->rows(),
                              place.device ? place.device->block_rows(columns) : block_rows_for(columns));
  }
  Shard::Options options_of(const Place& place) const {
    return {place.streamed ? one_byte : 0, precision_, place.lanes};
  }
  FitOptions fit_options(const Place& place) const {
    FitOptions options;
    options.max_iterations = iterations;
    options.tolerance = 0;
    options.precision = precision_;
    options.device = place.device;
    options.row_memory = place.streamed ? one_byte : 0;
    return options;
  }

  // Calls work(shard) with this rank's part of the rows.
  template <class Work>
  void with_shard(const Place& place, const RowSource* given, const Communicator& communicator, const Work& work) {
    const BlockPlan plan = plan_of(place);
    const BlockRange range = blocks_of_rank(plan, communicator.rank(), communicator.size());
    const MemoryRows rows(planted_->matrix(), "planted rows"), weights = weight_rows();
    Shard shard(io_, Inputs{&rows, weighted(&weights), given}, plan, ShardRange{range.first, range.last},
                options_of(place));
    shard.prepare({model_->standardisation(), model_->log_base_measure()}, [] {});
    work(shard);
  }

  Precision precision_;
  IoExecutor& io_;
  std::function<std::unique_ptr<Model>(const OptionValues&)> make_;
  OptionValues options_;
  std::unique_ptr<Model> model_;
  const PlantedRows* planted_ = nullptr;
  SingleProcess single_;
  DataSummary summary_;
  std::vector<std::vector<double>> starts_;
  Candidate expected_;
  RowValues expected_rows_;
};

DeviceCheck::DeviceCheck(Device& alone, Device& linked, Communicator& communicator, IoExecutor& io)
    : alone_(alone), linked_(linked), communicator_(communicator), io_(io) {}

DeviceCheck::~DeviceCheck() = default;

// Some whole blocks, one for each rank up to a point, and a ragged one. Where a sequence is to be cut it has that length, and
// short ones fill another block.
const PlantedRows& DeviceCheck::rows_of(const Model& model, const Shape& shape) {
  const auto cut = model.sequence_cut();
  const auto [found, absent] = planted_.try_emplace({model.domain(), shape.columns, cut.has_value()});
  if (!absent) return found->second;
  const Index block_rows = cut ? cut->block_rows : alone_.block_rows(shape.columns);
  const Index rows = std::clamp<Index>(communicator_.size(), 2, 16) * block_rows + block_rows / 3 + 17;
  if (!cut) {
    found->second = plant_rows(model.domain(), rows, shape.columns, shape.components, shape.weighted);
    return found->second;
  }
  std::vector<Index> lengths;
  if (shape.cut) lengths.push_back(rows);
  constexpr Index longest = 97;
  for (Index left = shape.cut ? block_rows / 3 : rows; left > 0; left -= lengths.back())
    lengths.push_back(std::min(left, 1 + static_cast<Index>(lengths.size()) * 29 % longest));
  found->second = plant_rows(model.domain(), std::make_shared<const Sequences>(Sequences::of_lengths(lengths)), shape.columns,
                             shape.components, shape.weighted);
  return found->second;
}

void DeviceCheck::check_alone(Problem& problem, std::vector<CheckResult>& results) {
  const Tolerances allowed = tolerances_of(problem.precision(), problem.model().name() == "kmeans");
  const Layout& layout = problem.model().parameters();
  const Place one{&alone_, 1, false}, many{&alone_, many_lanes, false}, streamed{&alone_, many_lanes, true};
  const Candidate& expected = problem.expected();

  take(results, {"first M-step", difference_of_fields(layout, problem.start(0, many), problem.start_of(0)),
                 allowed.m_step, ""});
  communicator_.pulse();

  const Candidate fitted = problem.fit_alone({0}, many).front();
  problem.alone = bits_of(fitted);
  take(results, {"parameters", difference_of_fields(layout, fitted.parameters, expected.parameters),
                 allowed.parameters, ""});
  take(results, {"trace", difference(whole_trace(fitted), whole_trace(expected)), allowed.objective, ""});
  communicator_.pulse();

  const RowValues rows = problem.evaluate(expected.parameters, many), &expected_rows = problem.expected_rows();
  double other_labels = 0;
  for (std::size_t i = 0; i < rows.labels.size(); ++i) other_labels += rows.labels[i] != expected_rows.labels[i];
  take(results, {"objectives", difference(rows.objectives, expected_rows.objectives), allowed.rows, ""});
  take(results, {"responsibilities", difference(rows.responsibilities, expected_rows.responsibilities), allowed.rows,
                 ""});
  take(results, {"labels", other_labels / static_cast<double>(rows.labels.size()), allowed.labels, ""});
  communicator_.pulse();

  const auto same_bits = [&](const char* check, const Bits& found, const Bits& wanted) {
    take(results, {check, count_differences(found, wanted), 0, ""});
    communicator_.pulse();
  };
  same_bits("lanes", bits_of(problem.fit_alone({0}, one).front()), *problem.alone);
  same_bits("lanes", problem.evaluate(expected.parameters, one).bits(), rows.bits());
  same_bits("streamed", bits_of(problem.fit_alone({0}, streamed).front()), *problem.alone);
  same_bits("candidates", bits_of(problem.fit_alone({1, 0, 2}, many)[1]), *problem.alone);
}

CheckResult DeviceCheck::check_ranks(std::vector<std::unique_ptr<Problem>>& problems) {
  CheckResult result{"ranks", 0, 0, ""};
  try {
    for (const auto& problem : problems) {
      const Candidate together = problem->fit_together({0}, {&linked_, many_lanes, false}, communicator_).front();
      result.measured += count_differences(bits_of(together), *problem->alone);
    }
  } catch (const AgreedFailure& failure) {
    result.failure = dynamic_cast<const Error&>(failure).what();
  } catch (const DataError& error) {  // which all ranks find alike
    result.failure = error.what();
  }
  return result;
}

std::vector<CheckResult> DeviceCheck::run(const CheckedModel& checked) {
  constexpr Shape shapes[] = {{5, 7, true, true}, {37, 2, false, false}};
  std::vector<CheckResult> results;
  std::vector<std::unique_ptr<Problem>> problems;
  std::int64_t broken = 0;
  for (const Shape& shape : shapes) {
    problems.push_back(std::make_unique<Problem>(checked, shape, io_));
    Problem& problem = *problems.back();
    problem.prepare(rows_of(problem.model(), shape));
    communicator_.pulse();
    try {
      check_alone(problem, results);
    } catch (const CommunicationError&) {
      throw;
    } catch (const std::exception& error) {
      take(results, {"errors", 0, 0, error.what()});
      broken = 1;
    }
  }
  communicator_.sum(std::span(&broken, 1));
  if (communicator_.size() > 1 && broken == 0) results.push_back(check_ranks(problems));
  return results;
}

}  // namespace tally
