#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "algorithms/bound_device_model.hpp"
#include "algorithms/em_exchange.hpp"
#include "algorithms/em_fit.hpp"
#include "algorithms/em_scan.hpp"
#include "algorithms/em_start.hpp"
#include "algorithms/registry.hpp"
#include "bench/ceilings.hpp"
#include "bench/clock.hpp"
#include "bench/naive.hpp"
#include "comm/single_process.hpp"
#include "core/archive.hpp"
#include "core/blas.hpp"
#include "core/error.hpp"
#include "core/hdf5_rows.hpp"
#include "core/memory_rows.hpp"
#include "core/random_streams.hpp"
#include "launch/context.hpp"
#include "launch/device_choice.hpp"
#include "launch/sequence_inputs.hpp"

// Times EM iterations through the real loop, beside what the machine can do, and checks the results.
namespace tally::bench {
namespace {

struct Request {
  std::string model = "gmm";
  std::string covariance = "full";
  double reg_covar = 1e-6;
  Index rows = 200000, columns = 32, components = 64;
  std::string emission = "gaussian-diag";
  Index sequences = 1, steps = 0;  // of hmm; steps of each sequence, 0: as the rows have it
  std::string lengths;             // FILE.h5:/PATH, instead of sequences of one length
  int ranks = 1, rank = 0;         // whose share of the sequences is timed
  std::string precision = "double";
  int threads = 2;
  int iterations = 5;
  int repeat = 5;
  std::string summation = "exact";
  std::string data, start;  // FILE.h5:/PATH, instead of random ones
  std::uint64_t seed = 1;
  bool skip_ceilings = false;
  std::string device = "cpu";

  bool on_cpu() const { return device == "cpu"; }
  bool of_sequences() const { return model == "hmm"; }
  bool of_symbols() const { return of_sequences() && emission == "categorical"; }
  Precision real() const { return precision_named(precision); }
};

constexpr double symbols = 16;

// Half of the time the one that a component prefers.
double symbol_near(double centre, double u) {
  const double preferred = std::floor(std::abs(centre) * symbols);
  return u < 0.5 ? std::fmod(preferred, symbols) : std::floor((2 * u - 1) * symbols);
}

// Rows (rows, columns) around planted centres: unit normals about centres of spread 3, Poisson counts, or symbols of which
// each component prefers one.
std::vector<double> random_rows(const Request& request) {
  const Index D = request.columns;
  const RandomKey key{request.seed, static_cast<std::uint32_t>(RandomStream::generate)};
  const RandomKey centre_key{request.seed, static_cast<std::uint32_t>(RandomStream::draw)};
  std::vector<double> centres(static_cast<std::size_t>(request.components * D));
  for (std::size_t i = 0; i < centres.size(); ++i) centres[i] = 3 * normal(centre_key, i, 0);
  std::vector<double> values(static_cast<std::size_t>(request.rows * D));
  const auto fill = [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const auto row = static_cast<std::uint64_t>(i);
      const auto component =
          static_cast<Index>(below(centre_key, row, 1, static_cast<std::uint64_t>(request.components)));
      for (Index d = 0; d < D; ++d) {
        const double centre = centres[static_cast<std::size_t>(component * D + d)];
        double& value = values[static_cast<std::size_t>(i * D + d)];
        const auto first_draw = static_cast<std::uint32_t>(d) * poisson_draws;
        if (request.model == "poisson")
          value = static_cast<double>(poisson(key, row, first_draw, std::exp(0.3 * centre + 1)));
        else if (request.of_symbols())
          value = symbol_near(centre, uniform(key, row, first_draw));
        else
          value = centre + normal(key, row, first_draw);
      }
    }
  };
  std::vector<std::jthread> threads;
  for (Index t = 0; t < request.threads; ++t)
    threads.emplace_back(fill, request.rows * t / request.threads, request.rows * (t + 1) / request.threads);
  threads.clear();
  return values;
}

std::vector<double> rows_of_file(IoExecutor& io, Request& request) {
  const Hdf5Rows file(io, {request.data});
  request.rows = file.rows();
  request.columns = file.columns();
  if (request.steps > 0 && request.rows != request.sequences * request.steps)
    throw DataError(request.data + " has " + std::to_string(request.rows) + " rows, not --sequences times --steps");
  std::vector<double> values(static_cast<std::size_t>(request.rows * request.columns));
  file.read(0, request.rows, values.data());
  return values;
}

// Sequences, and where their first row lies in all rows.
struct Share {
  Index first_row = 0;
  std::shared_ptr<const Sequences> sequences;
};

// A rank's rows as data of their own: a sequence that goes on at another rank counts as two.
Share share_of(const Request& request, const Model& model, const std::shared_ptr<const Sequences>& all) {
  const BlockPlan plan = plan_for(model, all, request.rows, 0);
  const BlockRange blocks = blocks_of_rank(plan, request.rank, request.ranks, work_of(model));
  const Index first = plan.first_row(blocks.first), end = plan.first_row(blocks.last);
  std::vector<Index> lengths;
  for (Index row = first; row < end; row += lengths.back())
    lengths.push_back(std::min(end, all->first_row(all->sequence_of(row) + 1)) - row);
  return {first, std::make_shared<const Sequences>(Sequences::of_lengths(lengths))};
}

// Everything a fit needs, made once.
class Problem {
 public:
  explicit Problem(Request& request)
      : all_sequences_(sequences_of(io_, request)),
        values_(request.data.empty() ? random_rows(request) : rows_of_file(io_, request)),
        device_(take_device(request)),
        model_(make_model(request)),
        share_(all_sequences_ ? share_of(request, *model_, all_sequences_) : Share{}),
        rows_(MatrixView<const double>(values_.data() + share_.first_row * request.columns,
                                       share_.sequences ? share_.sequences->rows() : request.rows, request.columns),
              "random rows") {
    request.rows = rows_.rows();
    const BlockPlan plan = plan_for(*model_, share_.sequences, request.rows, device_.block_rows(request.columns));
    Shard::Options options;
    options.lanes = request.threads;
    options.precision = request.real();
    options.takes_missing = model_->takes_missing();
    shard_ = std::make_unique<Shard>(io_, Inputs{&rows_, nullptr, nullptr}, plan,
                                     ShardRange{0, plan.block_count()}, options);
    scan_ = scan(*shard_, model_->domain(), sample_size(request.rows, request.columns, request.components),
                 request.seed, world_);
    model_ = make_model(request, model_->options_from(scan_.summary));
    model_->set_standardisation(standardise_for(model_->scaling(), scan_.summary));
    shard_->prepare({model_->standardisation(), model_->log_base_measure()}, [] {});
    start_ = request.start.empty() ? random_start(request) : start_of_file(request.start);
  }

  const Model& model() const { return *model_; }
  std::string device() const { return device_.device ? device_.device->description() : "cpu"; }
  MatrixView<const double> rows(Index count) const {
    return {values_.data() + share_.first_row * rows_.columns(), std::min(count, rows_.rows()), rows_.columns()};
  }
  const Sequences* sequences() const { return share_.sequences.get(); }

  // One fit from the start parameters: the state that it ends with.
  FitState run(const Request& request, Summation summation, FitObserver& observer) {
    FitState state;
    state.candidates.resize(1);
    state.candidates[0].parameters = start_;
    FitOptions options;
    options.max_iterations = request.iterations;
    options.tolerance = 0;
    options.precision = request.real();
    options.summation = summation;
    options.device = device_.device.get();
    fit(*model_, *shard_, scan_.summary, state, options, world_, observer);
    return state;
  }

  // Objective of every row in the user's units.
  std::vector<double> row_objectives(const std::vector<double>& parameters, const Request& request) {
    const auto bound = bind_model(*model_, {request.real(), request.threads, 1, Summation::exact, device_.device.get()});
    bound->prepare(0, parameters);
    const int first_candidate[] = {0};
    RankExchange exchange(*shard_, world_);
    bound->exchange_messages(*shard_, first_candidate, PassKind::evaluation, exchange, [] {});
    exchange.rethrow();
    std::vector<double> objectives(static_cast<std::size_t>(request.rows));
    BoundModel::Wanted wanted;
    wanted.objectives = true;
    bound->evaluate(
        *shard_, wanted,
        [&](Index first, Index count, const RowResults& results) {
          for (Index i = 0; i < count; ++i)
            objectives[static_cast<std::size_t>(first + i)] = model_->objective_in_user_units(results.objectives[i], 1);
        },
        [] {});
    return objectives;
  }

 private:
  DeviceChoice take_device(const Request& request) {
    const Registry none;
    CommandContext context{world_, io_, none, ""};
    return choose_device(request.device, context);
  }

  static std::shared_ptr<const Sequences> sequences_of(IoExecutor& io, Request& request) {
    if (!request.of_sequences()) return nullptr;
    if (!request.lengths.empty()) {
      const auto sequences = read_lengths(io, request.lengths);
      request.rows = sequences->rows();
      request.sequences = sequences->count();
      return sequences;
    }
    if (request.rows % request.sequences != 0) throw UsageError("--rows must be a multiple of --sequences");
    return std::make_shared<Sequences>(Sequences::of_lengths(
        std::vector<Index>(static_cast<std::size_t>(request.sequences), request.rows / request.sequences)));
  }

  static std::unique_ptr<Model> make_model(const Request& request, OptionValues options = {}) {
    Registry registry;
    add_builtin_models(registry);
    if (request.model == "gmm") options["covariance"] = request.covariance;
    if (request.of_sequences()) options["emission"] = request.of_symbols() ? "categorical" : "gaussian";
    if (request.of_sequences() && !request.of_symbols())
      options["covariance"] = request.emission == "gaussian-full" ? "full" : "diag";
    if (options.contains("covariance")) options["reg-covar"] = std::to_string(request.reg_covar);
    return registry.find(request.model).make(request.components, request.columns, options);
  }

  std::vector<double> random_start(const Request& request) {
    StartOptions options;
    options.start = SampleStart::random_from_data;
    options.seed = request.seed;
    options.lanes = request.threads;
    return start_from_sample(*model_, scan_, options, io_);
  }

  std::vector<double> start_of_file(const std::string& place) {
    const DatasetName name = parse_dataset_name(place);
    const ArchiveReader archive(io_, name.file);
    NamedArrays arrays;
    for (const std::string& array : archive.list(name.path)) arrays[array] = archive.get(name.path + "/" + array);
    std::vector<double> parameters(static_cast<std::size_t>(model_->parameters().size()));
    model_->set_defaults(parameters);
    model_->read(arrays, parameters);
    return parameters;
  }

  IoExecutor io_;
  SingleProcess world_;
  std::shared_ptr<const Sequences> all_sequences_;
  std::vector<double> values_;
  DeviceChoice device_;
  std::unique_ptr<Model> model_;
  Share share_;
  MemoryRows rows_;
  std::unique_ptr<Shard> shard_;
  Scan scan_;
  std::vector<double> start_;
};

// Times each iteration but a fit's first, which also allocates.
class Stopwatch final : public FitObserver {
 public:
  void begin_fit() { first_ = true; }
  void iterated(const IterationReport& report) override {
    const Seconds reached = now();
    if (!first_) {
      const Seconds taken = reached - last_;
      iterations.push_back(taken.wall);
      processor.push_back(taken.processor);
      e_step.push_back(report.compute_seconds + report.reduce_seconds);
      compute.push_back(report.compute_seconds);
      reduce.push_back(report.reduce_seconds);
      maximize.push_back(report.maximize_seconds);
    }
    first_ = false;
    last_ = reached;
  }

  std::vector<double> iterations, processor, e_step, compute, reduce, maximize;

 private:
  bool first_ = true;
  Seconds last_;
};

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}
double smallest(const std::vector<double>& values) {
  return values.empty() ? 0 : *std::min_element(values.begin(), values.end());
}
double largest(const std::vector<double>& values) {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

// Floating-point operations of an iteration by the convention stated: 4 N K P with P the width of T(x), 2 N K D for
// k-means; tied: what all components share is counted once.
struct Work {
  double operations;
  std::string convention;
};
Work work_of(const Request& request) {
  const auto N = static_cast<double>(request.rows), D = static_cast<double>(request.columns),
             K = static_cast<double>(request.components);
  const double squares = D * (D + 1) / 2;
  if (request.model == "kmeans") return {2 * N * K * D, "2NKD"};
  if (request.of_sequences()) return {6 * N * K * K, "6TK^2, emissions not counted"};
  if (request.model == "poisson") return {4 * N * K * (1 + D), "4NKP, P = 1 + D"};
  if (request.covariance == "full") return {4 * N * K * (1 + D + squares), "4NKP, P = 1 + D + D(D+1)/2"};
  if (request.covariance == "tied") return {4 * N * (K * (1 + D) + squares), "4N(K(1 + D) + D(D+1)/2)"};
  if (request.covariance == "diag") return {4 * N * K * (1 + 2 * D), "4NKP, P = 1 + 2D"};
  return {4 * N * K * (2 + D), "4NKP, P = 2 + D"};
}

// The ceilings, measured once before each fit.
struct Ceilings {
  std::vector<double> gemm, gemm_processor, copy;  // seconds

  void measure(const Request& request) {
    const Seconds product = time_gemm(request.real(), request.threads);
    gemm.push_back(product.wall);
    gemm_processor.push_back(product.processor);
    copy.push_back(time_copy(request.threads).wall);
  }
  static constexpr double gemm_operations = 2.0 * gemm_size * gemm_size * gemm_size;
};

// Fractions of the ceiling: the best iteration against the best product, by the clock and by processor time.
nlohmann::json timing_of(const Stopwatch& watch, const Work& work, const Ceilings& ceilings) {
  const double best = smallest(watch.iterations), best_processor = smallest(watch.processor);
  nlohmann::json result = {{"iterations", watch.iterations.size()},
                           {"best_ms", 1e3 * best},
                           {"median_ms", 1e3 * median(watch.iterations)},
                           {"worst_ms", 1e3 * largest(watch.iterations)},
                           {"processor_best_ms", 1e3 * best_processor},
                           {"processor_median_ms", 1e3 * median(watch.processor)},
                           {"compute_median_ms", 1e3 * median(watch.compute)},
                           {"reduce_median_ms", 1e3 * median(watch.reduce)},
                           {"maximize_median_ms", 1e3 * median(watch.maximize)},
                           {"gflops", work.operations / best * 1e-9}};
  if (ceilings.gemm.empty()) {
    result["fraction_of_ceiling"] = nullptr;
    return result;
  }
  const double share = work.operations / Ceilings::gemm_operations;
  result["fraction_of_ceiling"] = share * smallest(ceilings.gemm) / best;
  result["fraction_by_processor_time"] = share * smallest(ceilings.gemm_processor) / best_processor;
  return result;
}

// Compares the fit's last objective with the rows' own and those of some rows with the textbook's; and the trace must
// not fall. Returns what is wrong, or nothing.
std::string find_error(Problem& problem, const Request& request, const Candidate& fitted) {
  const bool single = in_float(request.real());
  // Of mixtures on tensor cores: k-means and the CPU are as exact as in single.
  const bool rounds = request.real() == Precision::tf32 && request.model != "kmeans" && !request.on_cpu();
  const double row_tolerance = rounds ? 5e-2 : single ? 2e-3 : 1e-8;
  const double total_tolerance = rounds ? 1e-3 : single ? 1e-6 : 1e-11;
  const std::vector<double> rows = problem.row_objectives(fitted.parameters, request);
  double total = 0;
  for (const double row : rows) total += row;
  if (!(std::abs(total - fitted.trace.back()) <= total_tolerance * std::abs(total)))
    return "the rows sum to " + std::to_string(total) + ", the fit says " + std::to_string(fitted.trace.back());
  const MatrixView<const double> some = problem.rows(500);
  const std::vector<double> naive = naive_objectives(problem.model(), fitted.parameters, some, problem.sequences());
  for (std::size_t i = 0; i < naive.size(); ++i)
    if (!(std::abs(rows[i] - naive[i]) <= row_tolerance * (1 + std::abs(naive[i]))))
      return "row " + std::to_string(i) + " has " + std::to_string(rows[i]) + ", the naive loop " +
             std::to_string(naive[i]);
  const double sign = problem.model().larger_is_better() ? 1 : -1;
  for (std::size_t i = 1; i < fitted.trace.size(); ++i)
    if (sign * (fitted.trace[i] - fitted.trace[i - 1]) < -total_tolerance * std::abs(fitted.trace[i]))
      return "the objective gets worse in iteration " + std::to_string(i);
  return "";
}

int run(Request& request) {
  blas::use_one_thread();
  Problem problem(request);
  const Work work = work_of(request);
  const bool with_ceilings = request.on_cpu() && !request.skip_ceilings;  // they are the CPU's
  Stopwatch exact, plain;
  Ceilings ceilings;
  Candidate fitted;
  for (int repetition = 0; repetition < request.repeat; ++repetition) {
    if (with_ceilings) ceilings.measure(request);
    if (request.summation != "plain") {
      exact.begin_fit();
      fitted = problem.run(request, Summation::exact, exact).candidates[0];
    }
    if (request.summation != "exact") {
      plain.begin_fit();
      const Candidate other = problem.run(request, Summation::plain, plain).candidates[0];
      if (request.summation == "plain") fitted = other;
    }
  }
  nlohmann::json result = {{"model", request.model},
                           {"rows", request.rows},
                           {"columns", request.columns},
                           {"components", request.components},
                           {"precision", request.precision},
                           {"device", problem.device()},
                           {"threads", request.threads},
                           {"blas", blas::library_name()},
                           {"operations", work.operations},
                           {"convention", work.convention},
                           {"m_steps", fitted.m_steps},
                           {"objective", fitted.trace.back()}};
  if (!ceilings.gemm.empty()) {
    result["gemm_gflops"] = Ceilings::gemm_operations / smallest(ceilings.gemm) * 1e-9;
    result["gemm_gflops_by_processor_time"] =
        request.threads * Ceilings::gemm_operations / smallest(ceilings.gemm_processor) * 1e-9;
    result["copy_gbytes_per_second"] = 2.0 * copy_bytes / smallest(ceilings.copy) * 1e-9;
  }
  if (request.model == "gmm") result["covariance"] = request.covariance;
  if (request.of_sequences()) {
    result["emission"] = request.emission;
    result["sequences"] = problem.sequences()->count();
    const Stopwatch& watch = request.summation == "plain" ? plain : exact;
    result["e_step_ms"] = 1e3 * smallest(watch.e_step);
    result["e_step_processor_ms"] = 1e3 * smallest(watch.processor);  // with the M-step
    result["log_likelihood_after_one"] = fitted.trace[1];
  }
  if (request.summation != "plain") result["exact"] = timing_of(exact, work, ceilings);
  if (request.summation != "exact") result["plain"] = timing_of(plain, work, ceilings);
  if (request.summation == "both") {
    result["exact_cost_percent"] = 100 * (smallest(exact.iterations) / smallest(plain.iterations) - 1);
    result["exact_cost_percent_by_processor_time"] =
        100 * (smallest(exact.processor) / smallest(plain.processor) - 1);
  }
  const std::string error = find_error(problem, request, fitted);
  result["check"] = error.empty() ? "right" : "WRONG: " + error;
  std::printf("%s\n", result.dump(2).c_str());
  return error.empty() ? 0 : 1;
}

}  // namespace
}  // namespace tally::bench

int main(int argc, char** argv) {
  CLI::App app("Times EM iterations in memory, beside the machine's matrix products; prints JSON", "tally_bench");
  tally::bench::Request request;
  app.add_option("--model", request.model)->check(CLI::IsMember({"gmm", "kmeans", "poisson", "hmm"}))->capture_default_str();
  app.add_option("--covariance", request.covariance, "full, tied, diag or spherical")->capture_default_str();
  app.add_option("--reg-covar", request.reg_covar)->capture_default_str();
  app.add_option("--emission", request.emission, "of hmm")->check(CLI::IsMember({"gaussian-diag", "gaussian-full", "categorical"}))
      ->capture_default_str();
  app.add_option("--rows", request.rows)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--columns", request.columns)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--components,--states", request.components)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--sequences", request.sequences, "of hmm, all of one length")->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--steps", request.steps, "of each sequence, instead of --rows")->check(CLI::PositiveNumber);
  app.add_option("--lengths", request.lengths, "FILE.h5:/PATH, of sequences, instead of --sequences and --rows");
  app.add_option("--ranks", request.ranks, "of which one is timed, by itself, on its share of the sequences")
      ->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--rank", request.rank, "the one")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--precision", request.precision)->check(CLI::IsMember(tally::precision_names()))->capture_default_str();
  app.add_option("--threads", request.threads)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--iterations", request.iterations, "M-steps of each fit")->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--repeat", request.repeat, "fits, each after one measurement of the ceilings")
      ->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--summation", request.summation, "both: interleaved, and their difference")
      ->check(CLI::IsMember({"exact", "plain", "both"}))->capture_default_str();
  app.add_option("--data", request.data, "FILE.h5:/PATH instead of random rows");
  app.add_option("--start", request.start, "FILE.h5:/GROUP of start parameters instead of random ones");
  app.add_option("--seed", request.seed)->capture_default_str();
  app.add_option("--device", request.device, "cpu, cuda, or another backend, with --threads lanes; the ceilings are the "
                                             "CPU's and left out elsewhere")->capture_default_str();
  app.add_flag("--skip-ceilings", request.skip_ceilings, "do not measure matrix products and copies");
  CLI11_PARSE(app, argc, argv);
  if (request.steps > 0) request.rows = request.sequences * request.steps;
  try {
    return tally::bench::run(request);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tally_bench: %s\n", error.what());
    return 1;
  }
}
