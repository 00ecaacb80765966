#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include <CLI/App.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "algorithms/registry.hpp"
#include "comm/single_process.hpp"
#include "core/blas.hpp"
#include "core/error.hpp"
#include "core/hdf5_rows.hpp"
#include "core/wrapped_rows.hpp"
#include "launch/bench/ceilings.hpp"
#include "launch/bench/check.hpp"
#include "launch/bench/clustered_rows.hpp"
#include "launch/bench/problem.hpp"
#include "launch/bench/spread.hpp"
#include "launch/bench/stopwatch.hpp"
#include "launch/bench/work.hpp"
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

constexpr const char* symbols = "16";  // of random rows

Workload workload_of(const Request& request, const Registry& registry) {
  Workload workload;
  workload.model = &registry.find(request.model);
  workload.rows = request.rows;
  workload.columns = request.columns;
  workload.components = request.components;
  workload.precision = request.real();
  workload.seed = request.seed;
  OptionValues& options = workload.options;
  if (request.model == "gmm") options["covariance"] = request.covariance;
  if (request.of_sequences()) options["emission"] = request.of_symbols() ? "categorical" : "gaussian";
  if (request.of_sequences() && !request.of_symbols()) options["covariance"] = request.emission == "gaussian-full" ? "full" : "diag";
  if (request.of_symbols() && request.data.empty()) options["symbols"] = symbols;
  if (options.contains("covariance")) options["reg-covar"] = std::to_string(request.reg_covar);
  return workload;
}

// Rows of the file that was named, whose shape the request takes, or random ones.
std::unique_ptr<RowSource> rows_of(Request& request, const Registry& registry, IoExecutor& io) {
  if (request.data.empty())
    return std::make_unique<ClusteredRows>(workload_of(request, registry).make()->domain(), request.rows,
                                           request.columns, request.components, request.seed);
  auto file = std::make_unique<Hdf5Rows>(io, std::vector{request.data});
  request.rows = file->rows();
  request.columns = file->columns();
  if (request.steps > 0 && request.rows != request.sequences * request.steps)
    throw DataError(request.data + " has " + std::to_string(request.rows) +
                    " rows, not --sequences times --steps");
  return file;
}

// Sequences of one length, or those of the file that was named, whose rows the request takes; null of independent rows.
std::shared_ptr<const Sequences> sequences_of(IoExecutor& io, Request& request) {
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

// Sequences, and where their first row lies in all rows.
struct Share {
  Index first_row = 0;
  std::shared_ptr<const Sequences> sequences;
};

// A rank's rows as data of their own: a sequence that goes on at another rank counts as two.
Share share_of(const Request& request, const Model& model, const std::shared_ptr<const Sequences>& all) {
  const BlockPlan plan = plan_for(model, all, request.rows, 0);
  const BlockRange blocks = blocks_of_rank(plan, request.rank, request.ranks, tally::work_of(model));
  const Index first = plan.first_row(blocks.first), end = plan.first_row(blocks.last);
  std::vector<Index> lengths;
  for (Index row = first; row < end; row += lengths.back())
    lengths.push_back(std::min(end, all->first_row(all->sequence_of(row) + 1)) - row);
  return {first, std::make_shared<const Sequences>(Sequences::of_lengths(lengths))};
}

// So many rows of others, from one on.
class RowsFrom final : public WrappedRows {
 public:
  RowsFrom(const RowSource& all, Index first, Index count) : WrappedRows(all), first_(first), count_(count) {}
  Index rows() const noexcept override { return count_; }
  void read(Index first, Index count, double* out) const override { WrappedRows::read(first_ + first, count, out); }
  std::string where(Index row) const override { return WrappedRows::where(first_ + row); }

 private:
  Index first_, count_;
};

double best_of(const std::vector<double>& values) {
  return spread_of(values).best;
}
double median_of(const std::vector<double>& values) {
  return spread_of(values).median;
}

// How much longer one takes than the other: the median over iterations of the same number, whose work is the same.
double percent_more(const std::vector<double>& of, const std::vector<double>& than) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(of.size(), than.size()); ++i) ratios.push_back(of[i] / than[i]);
  return 100 * (median_of(ratios) - 1);
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
};

// Fractions of the ceiling: the best iteration against the best product, by the clock and by processor time.
nlohmann::json timing_of(const Stopwatch& watch, const Work& work, const Ceilings& ceilings) {
  const double best = best_of(watch.iterations), best_processor = best_of(watch.processor);
  nlohmann::json result = {{"iterations", watch.iterations.size()},
                           {"best_ms", 1e3 * best},
                           {"median_ms", 1e3 * median_of(watch.iterations)},
                           {"worst_ms", 1e3 * spread_of(watch.iterations).worst},
                           {"processor_best_ms", 1e3 * best_processor},
                           {"processor_median_ms", 1e3 * median_of(watch.processor)},
                           {"compute_median_ms", 1e3 * median_of(watch.compute)},
                           {"reduce_median_ms", 1e3 * median_of(watch.reduce)},
                           {"maximize_median_ms", 1e3 * median_of(watch.maximize)},
                           {"gflops", work.operations / best * 1e-9}};
  if (ceilings.gemm.empty()) {
    result["fraction_of_ceiling"] = nullptr;
    return result;
  }
  const double share = work.operations / gemm_operations();
  result["fraction_of_ceiling"] = share * best_of(ceilings.gemm) / best;
  result["fraction_by_processor_time"] = share * best_of(ceilings.gemm_processor) / best_processor;
  return result;
}

int run(Request& request) {
  blas::use_one_thread();
  IoExecutor io;
  SingleProcess world;
  Registry registry;
  add_builtin_models(registry);
  CommandContext context{world, io, registry, ""};
  const DeviceChoice device = choose_device(request.device, context);
  const std::shared_ptr<const Sequences> all_sequences = sequences_of(io, request);
  const std::unique_ptr<RowSource> all_rows = rows_of(request, registry, io);
  Workload workload = workload_of(request, registry);
  Share share;
  if (all_sequences) share = share_of(request, *workload.make(), all_sequences);
  if (share.sequences) request.rows = workload.rows = share.sequences->rows();
  workload.sequences = share.sequences;
  const RowsFrom rows(*all_rows, share.first_row, workload.rows);
  const Setting setting{world, io, device, request.threads};
  Problem problem(workload, rows, setting);
  if (request.start.empty())
    problem.start_from_rows();
  else
    problem.start_from_file(request.start);
  const Work work = work_of(workload);
  const bool with_ceilings = request.on_cpu() && !request.skip_ceilings;  // they are the CPU's
  Stopwatch exact, plain;
  Ceilings ceilings;
  Candidate fitted;
  for (int repetition = 0; repetition < request.repeat; ++repetition) {
    if (with_ceilings) ceilings.measure(request);
    if (request.summation != "plain") {
      exact.begin_fit();
      fitted = problem.run(request.iterations, Summation::exact, exact);
    }
    if (request.summation != "exact") {
      plain.begin_fit();
      const Candidate other = problem.run(request.iterations, Summation::plain, plain);
      if (request.summation == "plain") fitted = other;
    }
  }
  nlohmann::json result = {
      {"model", request.model},         {"rows", request.rows},
      {"columns", request.columns},     {"components", request.components},
      {"precision", request.precision}, {"device", device.device ? device.device->description() : "cpu"},
      {"threads", request.threads},     {"blas", blas::library_name()},
      {"operations", work.operations},  {"convention", work.convention},
      {"m_steps", fitted.m_steps},      {"objective", fitted.trace.back()}};
  if (!ceilings.gemm.empty()) {
    result["gemm_gflops"] = gemm_operations() / best_of(ceilings.gemm) * 1e-9;
    result["gemm_gflops_by_processor_time"] =
        request.threads * gemm_operations() / best_of(ceilings.gemm_processor) * 1e-9;
    result["copy_gbytes_per_second"] = 2.0 * copy_bytes / best_of(ceilings.copy) * 1e-9;
  }
  if (request.model == "gmm") result["covariance"] = request.covariance;
  if (request.of_sequences()) {
    result["emission"] = request.emission;
    result["sequences"] = workload.sequences->count();
    const Stopwatch& watch = request.summation == "plain" ? plain : exact;
    result["e_step_ms"] = 1e3 * best_of(watch.e_step);
    result["e_step_processor_ms"] = 1e3 * best_of(watch.processor);  // with the M-step
    result["log_likelihood_after_one"] = fitted.trace[1];
  }
  if (request.summation != "plain") result["exact"] = timing_of(exact, work, ceilings);
  if (request.summation != "exact") result["plain"] = timing_of(plain, work, ceilings);
  if (request.summation == "both") {
    result["exact_cost_percent"] = percent_more(exact.iterations, plain.iterations);
    result["exact_cost_percent_by_processor_time"] = percent_more(exact.processor, plain.processor);
  }
  const std::string error = problem.find_error(fitted);
  result["check"] = verdict(error);
  std::printf("%s\n", result.dump(2).c_str());
  return error.empty() ? 0 : 1;
}

}  // namespace
}  // namespace tally::bench

int main(int argc, char** argv) {
  CLI::App app("Times EM iterations in memory, beside the machine's matrix products; prints JSON",
               "tally_bench");
  tally::bench::Request request;
  app.add_option("--model", request.model)
      ->check(CLI::IsMember({"gmm", "kmeans", "poisson", "hmm"}))
      ->capture_default_str();
  app.add_option("--covariance", request.covariance, "full, tied, diag or spherical")->capture_default_str();
  app.add_option("--reg-covar", request.reg_covar)->capture_default_str();
  app.add_option("--emission", request.emission, "of hmm")
      ->check(CLI::IsMember({"gaussian-diag", "gaussian-full", "categorical"}))
      ->capture_default_str();
  app.add_option("--rows", request.rows)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--columns", request.columns)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--components,--states", request.components)
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--sequences", request.sequences, "of hmm, all of one length")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--steps", request.steps, "of each sequence, instead of --rows")->check(CLI::PositiveNumber);
  app.add_option("--lengths", request.lengths, "FILE.h5:/PATH, of sequences, instead of --sequences and --rows");
  app.add_option("--ranks", request.ranks, "of which one is timed, by itself, on its share of the sequences")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--rank", request.rank, "the one")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--precision", request.precision)
      ->check(CLI::IsMember(tally::precision_names()))
      ->capture_default_str();
  app.add_option("--threads", request.threads)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--iterations", request.iterations, "M-steps of each fit")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--repeat", request.repeat, "fits, each after one measurement of the ceilings")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--summation", request.summation, "both: interleaved, and their difference")
      ->check(CLI::IsMember({"exact", "plain", "both"}))
      ->capture_default_str();
  app.add_option("--data", request.data, "FILE.h5:/PATH instead of random rows");
  app.add_option("--start", request.start, "FILE.h5:/GROUP of start parameters instead of random ones");
  app.add_option("--seed", request.seed)->capture_default_str();
  app.add_option("--device", request.device,
                 "cpu, cuda, or another backend, with --threads lanes; the ceilings are the "
                 "CPU's and left out elsewhere")
      ->capture_default_str();
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
