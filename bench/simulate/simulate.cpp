#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <memory>
#include <numeric>
#include <optional>

#include <CLI/CLI.hpp>
#include <mpi.h>
#include <nlohmann/json.hpp>
#include <simgrid/s4u.hpp>
#include <sys/resource.h>
#include <xbt/log.h>

#include "algorithms/em_fit.hpp"
#include "algorithms/em_scan.hpp"
#include "algorithms/em_start.hpp"
#include "algorithms/registry.hpp"
#include "bench/simulate/collectives.hpp"
#include "bench/simulate/simulated_device.hpp"
#include "comm/agreement.hpp"
#include "comm/mpi_communicator.hpp"
#include "comm/partition.hpp"
#include "core/blas.hpp"
#include "launch/bench/clustered_rows.hpp"

// One fit on simulated ranks: the loop and the communicator are Tally's own, the E-step is simulated time.
namespace tally::simulation {
namespace {

struct Request {
  std::string platform;
  int ranks = 16;
  std::string model = "gmm";
  OptionValues options;
  Index rows = 0;  // of all ranks
  Index columns = 32, components = 64;
  double row_rate = 0, scan_rate = 0;  // rows a second and rank
  double noise = 0;                    // standard deviation of a rank's E-step, as a fraction
  double m_step_seconds = 0;           // 0: as measured here
  int iterations = 5;
  Index sample_rows = 0;  // that initialisation holds; 0: as many as `tally fit`
  std::uint64_t seed = 1;
  Costs costs;
};

double thread_seconds() {
  timespec spent{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return static_cast<double>(spent.tv_sec) + 1e-9 * static_cast<double>(spent.tv_nsec);
}

// Of a block's rows only so few are there, each standing for many: as few as make up a sample.
Index rows_held_of_block(const Request& request) {
  const Index block_rows = block_rows_for(request.columns),
              blocks = (request.rows + block_rows - 1) / block_rows;
  const Index sampled = sample_size(request.rows, request.columns, request.components);
  return std::clamp<Index>(2 * sampled / blocks, 4, block_rows);
}

// What all ranks share, being one process: the request, and what they report.
class Job {
 public:
  explicit Job(Request request)
      : request_(std::move(request)),
        block_rows_(block_rows_for(request_.columns)),
        held_of_block_(rows_held_of_block(request_)),
        plan_(BlockPlan::uniform(held(request_.rows), held_of_block_)),
        typical_source_(Domain::real, 2 * typical_rows, request_.columns, request_.components,
                        request_.seed) {
    add_builtin_models(registry_);
    const Domain domain = make_model({})->domain();
    rows_.emplace(domain, plan_.total_rows(), request_.columns, request_.components, request_.seed);
    typical_source_ =
        bench::ClusteredRows(domain, 2 * typical_rows, request_.columns, request_.components, request_.seed);
    passes_.resize(static_cast<std::size_t>(request_.iterations + 1));
  }

  void run_rank();
  nlohmann::json report() const;

 private:
  static constexpr Index typical_rows = 8192;

  struct Pass {
    std::vector<double> compute, collectives, whole;  // seconds, of each rank
  };
  // Reached by the last rank, seconds from the start.
  struct Startup {
    double connected = 0, scanned = 0, started = 0;
  };

  class Recorder final : public FitObserver {
   public:
    Recorder(Job& job, const SimulatedDevice& device, int rank) : job_(job), device_(device), rank_(rank) {}
    void iterated(const IterationReport& report) override {
      const double reduced = now();
      const bool maximized = report.iteration < job_.request_.iterations;
      if (maximized) simgrid::s4u::this_actor::sleep_for(job_.m_step_seconds_);
      Pass& pass = job_.passes_[static_cast<std::size_t>(report.iteration)];
      pass.compute.push_back(device_.pass_seconds());
      pass.collectives.push_back(reduced - last_ - device_.pass_seconds());
      pass.whole.push_back(now() - last_);
      last_ = now();
    }
    void begin() { last_ = now(); }

   private:
    Job& job_;
    const SimulatedDevice& device_;
    int rank_;
    double last_ = 0;
  };

  Index held(Index rows) const {
    return std::max<Index>(1, (rows * held_of_block_ + block_rows_ - 1) / block_rows_);
  }
  // That these rows stand for.
  double meant(Index held_rows) const {
    return static_cast<double>(held_rows) / static_cast<double>(held_of_block_) *
           static_cast<double>(block_rows_);
  }
  std::unique_ptr<Model> make_model(OptionValues from_data) const {
    OptionValues all = request_.options;
    all.merge(from_data);
    return registry_.find(request_.model).make(request_.components, request_.columns, all);
  }
  Index sample_rows() const {
    const Index usual = sample_size(request_.rows, request_.columns, request_.components);
    return request_.sample_rows > 0 ? std::min(request_.sample_rows, usual) : usual;
  }
  // The first rank to come here measures for all.
  void measure(const Model& model, const DataSummary& summary, std::span<const double> parameters);
  double seconds_of(Index held_rows, int rank, int pass) const;

  const Request request_;
  const Index block_rows_, held_of_block_;
  Registry registry_;
  const BlockPlan plan_;
  bench::ClusteredRows typical_source_;
  std::optional<bench::ClusteredRows> rows_;
  IoExecutor io_;
  std::optional<TypicalRow> typical_;
  double m_step_seconds_ = 0;
  std::vector<Pass> passes_;
  Startup startup_;
  double ended_ = 0;
  Traffic startup_traffic_, traffic_;  // of the rank that sent most
  Index statistics_bytes_ = 0, sampled_ = 0;
  std::optional<std::vector<double>> parameters_;  // of the rank that ended first
  bool bits_agree_ = true;
};

double Job::seconds_of(Index held_rows, int rank, int pass) const {
  const RandomKey key{request_.seed, 0};
  const double noise =
      request_.noise * normal(key, static_cast<std::uint64_t>(rank), static_cast<std::uint32_t>(2 * pass));
  return meant(held_rows) / request_.row_rate * std::max(0.0, 1 + noise);
}

void Job::measure(const Model& model, const DataSummary& summary, std::span<const double> parameters) {
  if (typical_) return;
  typical_ = typical_row(model, parameters, typical_source_, typical_rows);
  std::vector<Grid> grids;
  for (const double bound : model.bounds(summary)) grids.push_back(make_grid(bound, 0));
  m_step_seconds_ = request_.m_step_seconds;
  for (int i = 0; i < 5 && request_.m_step_seconds == 0; ++i) {
    std::vector<double> next(parameters.begin(), parameters.end());
    Tally tally(1, model.statistics(), grids);
    tally.add_block(0, typical_->objective, typical_->statistics[0]);
    std::vector<double> statistics(typical_->statistics[0].size());
    const double start = thread_seconds();
    tally.carry();
    tally.statistics(0, statistics);
    model.maximize(statistics, 1, next);
    const double taken = thread_seconds() - start;
    m_step_seconds_ = i == 0 ? taken : std::min(m_step_seconds_, taken);
  }
}

void Job::run_rank() {
  MPI_Init(nullptr, nullptr);
  {
    MpiCommunicatorOptions communicator_options;
    communicator_options.clock = [] {
      return std::chrono::steady_clock::time_point(
          std::chrono::duration_cast<std::chrono::steady_clock::duration>(
              std::chrono::duration<double>(now())));
    };
    MpiCommunicator communicator(MPI_COMM_WORLD, communicator_options);
    const int rank = communicator.rank();
    startup_.connected = std::max(startup_.connected, now());

    const BlockRange range = blocks_of_rank(plan_, rank, communicator.size());
    Shard::Options shard_options;
    shard_options.memory_limit = 1;  // rows are made as they are read
    Shard shard(io_, Inputs{&*rows_, nullptr, nullptr}, plan_, ShardRange{range.first, range.last},
                shard_options);
    if (request_.scan_rate > 0)
      simgrid::s4u::this_actor::sleep_for(meant(shard.local_rows()) / request_.scan_rate);
    std::unique_ptr<Model> model = make_model({});
    Scan scan = tally::scan(shard, model->domain(), sample_rows(), request_.seed, communicator);
    startup_.scanned = std::max(startup_.scanned, now());
    if (rank == 0) sampled_ = scan.sample.size();
    model = make_model(model->options_from(scan.summary));
    model->set_standardisation(standardise_for(model->scaling(), scan.summary));
    agree(communicator, [&] { shard.prepare({model->standardisation(), model->log_base_measure()}, {}); });

    FitState state;
    state.candidates.resize(1);
    StartOptions start_options;
    start_options.start = SampleStart::random_from_data;
    start_options.seed = request_.seed;
    state.candidates[0].parameters = start_from_sample(*model, scan, start_options, io_);
    scan.sample = {};
    measure(*model, scan.summary, state.candidates[0].parameters);

    SimulatedDevice device(*model, *typical_,
                           [this, rank](Index rows, int pass) { return seconds_of(rows, rank, pass); });
    FitOptions options;
    options.max_iterations = request_.iterations;
    options.tolerance = 0;
    options.device = &device;
    Recorder recorder(*this, device, rank);
    startup_.started = std::max(startup_.started, now());
    const Traffic before = traffic_of(rank);
    if (before.messages > startup_traffic_.messages) startup_traffic_ = before;
    recorder.begin();
    fit(*model, shard, scan.summary, state, options, communicator, recorder);
    const Traffic after = traffic_of(rank);
    if (after.messages > traffic_.messages) traffic_ = after;
    statistics_bytes_ = Tally::buffer_size(1, model->statistics()) * 8;
    const std::vector<double>& parameters = state.candidates[0].parameters;
    if (!parameters_) parameters_ = parameters;
    bits_agree_ = bits_agree_ && parameters == *parameters_;
    communicator.barrier();
  }
  ended_ = std::max(ended_, now());
  MPI_Finalize();
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}
double largest_of(const std::vector<double>& values) {
  return *std::max_element(values.begin(), values.end());
}
double smallest_of(const std::vector<double>& values) {
  return *std::min_element(values.begin(), values.end());
}

// Seconds from rank 0 to ranks 1, 2, 4, ...
std::vector<double> step_latencies(int ranks) {
  std::vector<double> latencies;
  const simgrid::s4u::Host* const first = simgrid::s4u::Host::by_name("node-0");
  for (int rank = 1; rank < ranks; rank *= 2) {
    std::vector<simgrid::s4u::Link*> links;
    double latency = 0;
    first->route_to(simgrid::s4u::Host::by_name("node-" + std::to_string(rank)), links, &latency);
    latencies.push_back(latency);
  }
  return latencies;
}

nlohmann::json Job::report() const {
  // The first pass also takes its blocks over, the last is followed by no M-step.
  double whole = 0, compute = 0, wait = 0, allreduce = 0;
  const int counted = request_.iterations - 1;
  for (int i = 1; i <= counted; ++i) {
    const Pass& pass = passes_[static_cast<std::size_t>(i)];
    whole += largest_of(pass.whole) / counted;
    compute += mean_of(pass.compute) / counted;
    allreduce += smallest_of(pass.collectives) / counted;
    wait += (mean_of(pass.collectives) - smallest_of(pass.collectives)) / counted;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto traffic = [](const Traffic& of) {
    return nlohmann::json{{"messages", of.messages}, {"bytes", of.bytes}, {"peers", of.peers}};
  };
  return {{"ranks", request_.ranks},
          {"rows", request_.rows},
          {"block_rows", block_rows_},
          {"sample_rows", sampled_},
          {"statistics_bytes", statistics_bytes_},
          {"sample_bytes", sampled_ * (request_.columns + 1) * 8},
          {"step_latencies", step_latencies(request_.ranks)},
          {"seconds",
           {{"iteration", whole},
            {"compute", compute},
            {"wait", wait},
            {"allreduce", allreduce},
            {"m_step", m_step_seconds_}}},
          {"startup_seconds",
           {{"connect", startup_.connected},
            {"scan", startup_.scanned - startup_.connected},
            {"start", startup_.started - startup_.scanned}}},
          {"total_seconds", ended_},
          {"startup_traffic", traffic(startup_traffic_)},
          {"traffic", traffic(traffic_)},
          {"bits_agree", bits_agree_},
          {"simulator_bytes_per_rank", usage.ru_maxrss * 1024 / request_.ranks}};
}

int run(const Request& request, simgrid::s4u::Engine& engine) {
  blas::use_one_thread();
  set_costs(request.costs);
  // A message takes its links' latencies and its bytes over its share of the slowest; what ranks compute here takes no time.
  for (const char* setting :
       {"network/model:CM02", "network/latency-factor:1", "network/bandwidth-factor:1", "network/TCP-gamma:0",
        "network/weight-S:0", "network/crosstraffic:no", "smpi/simulate-computation:no",
        "smpi/cpu-threshold:-1", "smpi/test:0", "smpi/wtime:0", "smpi/iprobe:0", "smpi/list-leaks:0",
        "contexts/stack-size:512"})
    simgrid::s4u::Engine::set_config(setting);
  engine.load_platform(request.platform);
  Job job(request);
  SMPI_init();
  SMPI_app_instance_register("tally", nullptr, request.ranks);
  const std::vector<simgrid::s4u::Host*> hosts = engine.get_all_hosts();
  if (hosts.size() < static_cast<std::size_t>(request.ranks))
    throw UsageError("the platform has " + std::to_string(hosts.size()) + " hosts");
  for (int rank = 0; rank < request.ranks; ++rank) {
    simgrid::s4u::Host* const host = simgrid::s4u::Host::by_name("node-" + std::to_string(rank));
    const auto actor = simgrid::s4u::Actor::init("rank " + std::to_string(rank), host);
    actor->set_property("instance_id", "tally");
    actor->set_property("rank", std::to_string(rank));
    actor->start([&job, rank] {
      try {
        job.run_rank();
      } catch (const std::exception& error) {
        std::fprintf(stderr, "tally_simulate: rank %d: %s\n", rank, error.what());
        std::_Exit(1);
      }
    });
  }
  engine.run();
  SMPI_finalize();
  std::printf("%s\n", job.report().dump(2).c_str());
  return 0;
}

}  // namespace
}  // namespace tally::simulation

int main(int argc, char** argv) {
  using tally::simulation::Allreduce;
  xbt_log_control_set("root.thres:warning");
  simgrid::s4u::Engine engine(&argc, argv);  // takes what begins with --cfg and --log
  CLI::App app("One fit on simulated ranks; prints JSON", "tally_simulate");
  tally::simulation::Request request;
  std::string covariance;
  app.add_option("--platform", request.platform,
                 "SimGrid's description of a cluster of hosts node-0, node-1, ...")
      ->required();
  app.add_option("--ranks", request.ranks)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--model", request.model)->capture_default_str();
  app.add_option("--covariance", covariance);
  app.add_option("--rows", request.rows, "of all ranks")->required()->check(CLI::PositiveNumber);
  app.add_option("-d,--columns", request.columns)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("-k,--components", request.components)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--row-rate", request.row_rate, "rows a second of a rank's E-step")
      ->required()
      ->check(CLI::PositiveNumber);
  app.add_option("--scan-rate", request.scan_rate, "rows a second of the first scan; 0: takes no time");
  app.add_option("--noise", request.noise, "standard deviation of an E-step's time, as a fraction of it")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--m-step", request.m_step_seconds, "seconds; 0: as measured here")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--iterations", request.iterations)->check(CLI::Range(2, 1000))->capture_default_str();
  app.add_option("--sample-rows", request.sample_rows,
                 "that each rank holds for the start; 0: as many as tally fit");
  app.add_option("--seed", request.seed)->capture_default_str();
  app.add_option("--allreduce", request.costs.allreduce)
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, Allreduce>{{"open-mpi", Allreduce::open_mpi},
                                           {"binomial", Allreduce::binomial},
                                           {"rabenseifner", Allreduce::rabenseifner}}));
  app.add_option("--overhead", request.costs.overhead, "seconds of a processor a message")
      ->capture_default_str();
  app.add_option("--sum-rate", request.costs.sum_rate, "bytes added a second")->capture_default_str();
  app.add_option("--nap", request.costs.nap, "seconds between looks of a rank that has waited for 1 ms")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (!covariance.empty()) request.options["covariance"] = covariance;
  try {
    return tally::simulation::run(request, engine);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tally_simulate: %s\n", error.what());
    return 1;
  }
}
