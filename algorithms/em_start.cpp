#include "algorithms/em_start.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "algorithms/models/kmeans.hpp"
#include "comm/single_process.hpp"
#include "core/error.hpp"
#include "core/memory_rows.hpp"
#include "core/philox.hpp"
#include "core/random_streams.hpp"

namespace tally {
namespace {

RandomKey key_of(const StartOptions& options) {
  return {options.seed, static_cast<std::uint32_t>(RandomStream::initialise)};
}

// A number of restart r at step `index`: restarts share no draw.
double draw(const StartOptions& options, Index index, int which = 0) {
  return uniform(key_of(options), static_cast<std::uint64_t>(index),
                 static_cast<std::uint32_t>(options.restart * 4 + which));
}

// The sample as a shard of this process, for fits that concern it alone.
class SampleShard {
 public:
  // Missing values are the column's mean where `filled`, else NaN.
  SampleShard(const Sample& sample, bool filled, Index columns, std::vector<double> given, IoExecutor& io, int lanes)
      : given_(std::move(given)),
        rows_(MatrixView<const double>((filled ? sample.values : sample.as_observed()).data(), sample.size(), columns),
              "the sample"),
        weights_(MatrixView<const double>(sample.weights.data(), sample.size(), 1), "the sample's weights"),
        given_rows_(MatrixView<const double>(given_.data(), sample.size(),
                                             static_cast<Index>(given_.size()) / std::max<Index>(sample.size(), 1)),
                    "the sample's labels") {
    const BlockPlan plan = BlockPlan::uniform(sample.size(), block_rows_for(columns));
    Shard::Options options;
    options.lanes = lanes;
    shard_ = std::make_unique<Shard>(io, Inputs{&rows_, &weights_, given_.empty() ? nullptr : &given_rows_}, plan,
                                     ShardRange{0, plan.block_count()}, options);
  }
  Shard& prepared_for(const Model& model) {
    shard_->prepare({model.standardisation(), model.log_base_measure()}, [] {});
    return *shard_;
  }

 private:
  std::vector<double> given_;
  MemoryRows rows_, weights_, given_rows_;
  std::unique_ptr<Shard> shard_;
};

DataSummary summary_of_sample(const Scan& scan) {
  DataSummary summary = scan.summary;
  summary.rows = scan.sample.size();
  summary.total_weight = 0;
  for (const double weight : scan.sample.weights) summary.total_weight += weight;
  return summary;
}

// Given for every sampled row: its label, or its responsibilities; then an M-step.
std::vector<double> m_step_of(const Model& model, const Scan& scan, std::vector<double> given,
                              const StartOptions& options, IoExecutor& io) {
  SampleShard sample(scan.sample, false, model.columns(), std::move(given), io, options.lanes);
  SingleProcess alone;
  auto parameters = fit_given(model, sample.prepared_for(model), summary_of_sample(scan), FitOptions{}, alone);
  model.soften_start(scan.summary, parameters);
  return parameters;
}

// Where k-means begins (K, D): at the mean of a component's known rows, or at a seed where there are none.
std::vector<double> seed_rows(const Scan& scan, Index K, const StartOptions& options) {
  const Index D = scan.summary.columns;
  const KnownRows& known = scan.known;
  std::vector<Index> counts(static_cast<std::size_t>(K));
  for (const Index component : known.components) ++counts[static_cast<std::size_t>(component)];
  std::vector<double> rows(static_cast<std::size_t>(K * D)), placed;
  for (std::size_t i = 0; i < known.values.size(); ++i) {
    const Index component = known.components[i / static_cast<std::size_t>(D)], column = static_cast<Index>(i) % D;
    rows[static_cast<std::size_t>(component * D + column)] +=
        known.values[i] / static_cast<double>(counts[static_cast<std::size_t>(component)]);
  }
  for (Index k = 0; k < K; ++k)
    if (counts[static_cast<std::size_t>(k)] > 0)
      placed.insert(placed.end(), rows.begin() + k * D, rows.begin() + (k + 1) * D);
  const std::vector<Index> seeds = choose_seeds(scan.sample, D, K, options, placed);
  auto seed = seeds.begin();
  for (Index k = 0; k < K; ++k)
    if (counts[static_cast<std::size_t>(k)] == 0)
      std::copy_n(scan.sample.values.begin() + *seed++ * D, D, rows.begin() + k * D);
  return rows;
}

// Labels of the sample by k-means from as many seeds, after at most `iterations` of Lloyd's.
std::vector<double> kmeans_labels(const Scan& scan, Index components, int iterations, const StartOptions& options,
                                  IoExecutor& io) {
  const Index K = components, D = scan.summary.columns;
  const std::vector<double> rows = seed_rows(scan, K, options);
  const auto kmeans = make_kmeans(K, D);
  kmeans->set_standardisation(standardise_for(Scaling::common, scan.summary));
  FitState state;
  state.candidates.resize(1);
  auto& parameters = state.candidates.front().parameters;
  parameters.resize(static_cast<std::size_t>(kmeans->parameters().size()));
  kmeans->start_at(MatrixView<const double>(rows.data(), K, D), scan.summary, parameters);

  SampleShard sample(scan.sample, true, D, {}, io, options.lanes);
  Shard& shard = sample.prepared_for(*kmeans);
  if (iterations > 0) {
    SingleProcess alone;
    FitObserver silent;
    FitOptions fit_options;
    fit_options.max_iterations = iterations;
    fit_options.tolerance = 0;
    fit(*kmeans, shard, summary_of_sample(scan), state, fit_options, alone, silent);
  }
  std::vector<double> labels(static_cast<std::size_t>(scan.sample.size()));
  const auto bound = kmeans->bind({Precision::double_precision, options.lanes, 1, Summation::exact});
  bound->prepare(0, parameters);
  bound->evaluate(
      shard, {.labels = true},
      [&](Index first, Index count, const RowResults& results) {
        std::copy_n(results.labels, count, labels.begin() + first);
      },
      [] {});
  return labels;
}

// Labels of densities: each component's rows are clustered once more, among its own.
std::vector<double> labels_of_densities(const Model& model, const Scan& scan, int iterations, const StartOptions& options,
                                        IoExecutor& io) {
  const Index K = model.components(), M = model.densities() / K;
  std::vector<double> labels = kmeans_labels(scan, K, iterations, options, io);
  if (M == 1) return labels;
  const std::vector<double> components = labels;
  for (Index k = 0; k < K; ++k) {
    Scan part = scan;
    part.known = {};
    double weight = 0;
    for (std::size_t i = 0; i < components.size(); ++i) {
      if (components[i] != static_cast<double>(k)) part.sample.weights[i] = 0;
      weight += part.sample.weights[i];
    }
    if (weight == 0) continue;
    const std::vector<double> within = kmeans_labels(part, M, iterations, options, io);
    for (std::size_t i = 0; i < components.size(); ++i)
      if (components[i] == static_cast<double>(k)) labels[i] = static_cast<double>(k * M) + within[i];
  }
  return labels;
}

std::vector<double> random_responsibilities(const Scan& scan, Index K, const StartOptions& options) {
  std::vector<double> given(static_cast<std::size_t>(scan.sample.size() * K));
  for (Index i = 0; i < scan.sample.size(); ++i) {
    double sum = 0;
    double* row = given.data() + i * K;
    for (Index k = 0; k < K; ++k) sum += row[k] = draw(options, i * K + k);
    for (Index k = 0; k < K; ++k) row[k] /= sum;
  }
  return given;
}

// Positions of the sample's rows of positive weight. Throws DataError where they are fewer than the components.
std::vector<Index> usable_rows(const Sample& sample, Index components) {
  std::vector<Index> usable;
  for (Index i = 0; i < sample.size(); ++i)
    if (sample.weights[static_cast<std::size_t>(i)] > 0) usable.push_back(i);
  if (static_cast<Index>(usable.size()) < components)
    throw DataError(std::to_string(components) + " components need as many rows of positive weight, there are " +
                    std::to_string(usable.size()) + " in the sample of " + std::to_string(sample.size()) +
                    " rows that starts are drawn from; use fewer components, or leave rows of weight 0 out");
  return usable;
}

// `count` of these positions of the sample, distinct, uniformly.
std::vector<Index> choose_rows(std::vector<Index> usable, Index count, const StartOptions& options) {
  for (Index k = 0; k < count; ++k) {  // the first steps of a shuffle
    const auto left = static_cast<double>(static_cast<Index>(usable.size()) - k);
    const Index other = k + std::min(static_cast<Index>(draw(options, k) * left), static_cast<Index>(left) - 1);
    std::swap(usable[static_cast<std::size_t>(k)], usable[static_cast<std::size_t>(other)]);
  }
  usable.resize(static_cast<std::size_t>(count));
  return usable;
}

// Distinct positions of the sample, uniformly among rows of positive weight.
std::vector<Index> choose_rows(const Sample& sample, Index components, const StartOptions& options) {
  return choose_rows(usable_rows(sample, components), components, options);
}

// Leaves out rows that are known to be of a component, as long as `wanted` others are left.
std::vector<Index> without_known(std::vector<Index> positions, const Scan& scan, std::size_t wanted) {
  const auto D = static_cast<std::size_t>(scan.summary.columns);
  const auto row_of = [&](const std::vector<double>& values, std::size_t row) {
    return std::span(values).subspan(row * D, D);
  };
  const auto before = [](auto a, auto b) { return std::ranges::lexicographical_compare(a, b); };
  std::vector<std::span<const double>> known;
  for (std::size_t i = 0; i < scan.known.components.size(); ++i) known.push_back(row_of(scan.known.values, i));
  std::ranges::sort(known, before);
  std::vector<Index> others = positions;
  std::erase_if(others, [&](Index row) {
    return std::ranges::binary_search(known, row_of(scan.sample.values, static_cast<std::size_t>(row)), before);
  });
  return others.size() < wanted ? positions : others;
}

}  // namespace

SampleStart parse_sample_start(const std::string& word) {
  if (word == "kmeans") return SampleStart::kmeans;
  if (word == "k-means++") return SampleStart::kmeans_plus_plus;
  if (word == "random") return SampleStart::random;
  if (word == "random-from-data") return SampleStart::random_from_data;
  throw UsageError("--init " + word +
                   " is unknown: kmeans, k-means++, random, random-from-data, labels:FILE:/PATH, "
                   "responsibilities:FILE:/PATH, parameters:FILE:/GROUP and model:FILE are there");
}

std::vector<Index> choose_seeds(const Sample& sample, Index columns, Index components, const StartOptions& options,
                                std::span<const double> placed) {
  const Index size = sample.size(), D = columns;
  // Distances are taken on a common power-of-two scale, so that no square overflows.
  double largest = 0;
  for (std::size_t i = 0; i < sample.values.size(); ++i)
    if (sample.weights[i / static_cast<std::size_t>(D)] > 0) largest = std::max(largest, std::abs(sample.values[i]));
  for (const double value : placed) largest = std::max(largest, std::abs(value));
  const double scale = largest > 0 ? std::ldexp(1.0, -std::clamp(std::ilogb(largest), -900, 900)) : 1;
  std::vector<double> nearest(static_cast<std::size_t>(size), std::numeric_limits<double>::infinity());
  double total = 0;
  const auto place = [&](const double* centre) {
    total = 0;
    for (Index i = 0; i < size; ++i) {
      double& distance = nearest[static_cast<std::size_t>(i)];
      const double weight = sample.weights[static_cast<std::size_t>(i)];
      if (weight == 0) continue;
      double squared = 0;
      for (Index d = 0; d < D; ++d) {
        const double difference = (sample.values[static_cast<std::size_t>(i * D + d)] - centre[d]) * scale;
        squared += difference * difference;
      }
      distance = std::min(distance, squared);
      total += weight * distance;
    }
  };
  const Index placed_count = static_cast<Index>(placed.size()) / D;
  for (Index n = 0; n < placed_count; ++n) place(placed.data() + n * D);
  std::vector<Index> seeds;
  if (placed_count == 0) seeds.push_back(choose_rows(sample, 1, options).front());
  while (placed_count + static_cast<Index>(seeds.size()) < components) {
    if (!seeds.empty()) place(sample.values.data() + seeds.back() * D);
    const double target = draw(options, placed_count + static_cast<Index>(seeds.size()), 1) * total;
    Index chosen = -1;
    double cumulative = 0;
    for (Index i = 0; i < size && total > 0; ++i) {
      const double weight = sample.weights[static_cast<std::size_t>(i)];
      if (weight == 0 || nearest[static_cast<std::size_t>(i)] == 0) continue;
      chosen = i;
      if ((cumulative += weight * nearest[static_cast<std::size_t>(i)]) > target) break;
    }
    // Every row lies on a seed already: any row does.
    seeds.push_back(chosen >= 0 ? chosen : choose_rows(sample, 1, options).front());
  }
  return seeds;
}

namespace {

// Puts rows that are known to be of a component in the place of its first densities, any of them first. Tells which densities
// have one.
std::vector<bool> place_known(const Model& model, const KnownRows& known, const StartOptions& options,
                              std::vector<double>& rows) {
  const Index D = model.columns(), each = model.densities() / model.components();
  std::vector<bool> placed(static_cast<std::size_t>(model.densities()), false);
  for (Index k = 0; k < model.components(); ++k) {
    const auto [first, last] = std::equal_range(known.components.begin(), known.components.end(), k);
    const Index count = last - first, begin = first - known.components.begin();
    const auto start = static_cast<Index>(draw(options, k, 3) * static_cast<double>(count));
    for (Index m = 0; m < std::min(each, count); ++m) {
      std::copy_n(known.values.begin() + (begin + (start + m) % count) * D, D, rows.begin() + (k * each + m) * D);
      placed[static_cast<std::size_t>(k * each + m)] = true;
    }
  }
  return placed;
}

// A row for each density (densities, D): one that is known to be of its component, else one of the sample, all of them distinct.
std::vector<double> draw_rows(const Model& model, const Scan& scan, const StartOptions& options) {
  const Index K = model.densities(), D = model.columns();
  std::vector<double> rows(static_cast<std::size_t>(K * D));
  const std::vector<bool> placed = place_known(model, scan.known, options, rows);
  const Index wanted = std::count(placed.begin(), placed.end(), false);
  const std::vector<Index> positions =
      choose_rows(without_known(usable_rows(scan.sample, K), scan, static_cast<std::size_t>(wanted)), wanted, options);
  auto position = positions.begin();
  for (Index k = 0; k < K; ++k)
    if (!placed[static_cast<std::size_t>(k)])
      std::copy_n(scan.sample.values.begin() + *position++ * D, D, rows.begin() + k * D);
  return rows;
}

// Parameters that the sampled rows tell.
std::vector<double> start_from_rows(const Model& model, const Scan& scan, const StartOptions& options, IoExecutor& io) {
  const Index K = model.densities(), D = model.columns();
  const auto at_rows = [&](const std::vector<double>& rows) {
    std::vector<double> parameters(static_cast<std::size_t>(model.parameters().size()));
    model.start_at(MatrixView<const double>(rows.data(), K, D), scan.summary, parameters);
    return parameters;
  };
  const bool centroids = !model.larger_is_better();
  switch (options.start) {
    case SampleStart::random_from_data: return at_rows(draw_rows(model, scan, options));
    case SampleStart::random:
      if (centroids) return at_rows(draw_rows(model, scan, options));
      return m_step_of(model, scan, random_responsibilities(scan, K, options), options, io);
    case SampleStart::kmeans_plus_plus:
    case SampleStart::kmeans: break;
  }
  usable_rows(scan.sample, K);  // enough rows, or a clear error
  if (options.start == SampleStart::kmeans_plus_plus && centroids) return at_rows(seed_rows(scan, K, options));
  constexpr int lloyd_iterations = 50;
  const int iterations = options.start == SampleStart::kmeans ? lloyd_iterations : 0;
  if (!options.kept) return m_step_of(model, scan, labels_of_densities(model, scan, iterations, options, io), options, io);
  std::vector<double>& labels = (*options.kept)[{K, options.restart}];
  if (labels.empty()) labels = labels_of_densities(model, scan, iterations, options, io);
  return m_step_of(model, scan, labels, options, io);
}

}  // namespace

std::vector<double> start_from_sample(const Model& model, const Scan& scan, const StartOptions& options,
                                      IoExecutor& io) {
  std::vector<double> parameters = start_from_rows(model, scan, options, io);
  model.vary_start([&](Index index) { return draw(options, index, 2); }, parameters);
  return parameters;
}

std::vector<Candidate> starts_from_sample(const Model& model, const Scan& scan, StartOptions options, int restarts,
                                          IoExecutor& io, Communicator& communicator) {
  std::vector<Candidate> starts(static_cast<std::size_t>(restarts));
  for (options.restart = 0; options.restart < restarts; ++options.restart) {
    communicator.pulse();
    Candidate& start = starts[static_cast<std::size_t>(options.restart)];
    try {
      start.parameters = start_from_sample(model, scan, options, io);
    } catch (const DataError& error) {
      start.parameters.resize(static_cast<std::size_t>(model.parameters().size()));
      start.reason = StopReason::failed;
      start.failure = error.what();
    }
  }
  return starts;
}

}  // namespace tally
