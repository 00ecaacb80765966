#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <array>
#include <barrier>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "comm/agreement.hpp"
#include "comm/in_seconds.hpp"
#include "core/blas.hpp"
#include "core/block.hpp"
#include "core/error.hpp"
#include "launch/cluster/preflight.hpp"
#include "launch/cluster/this_host.hpp"
#include "launch/cluster/topology.hpp"
#include "launch/context.hpp"
#include "launch/device_choice.hpp"
#include "launch/option_checks.hpp"
#include "launch/planned_fit.hpp"
#include "launch/resources.hpp"

namespace tally {
namespace {

using Clock = std::chrono::steady_clock;

// The best of some rounds counts: what else the machine does now and then is not what is looked for.
constexpr int rounds = 3;

// Runs work(thread) on all threads at once, as a fit's lanes do, a first time for nothing. Seconds until the last ends, in the
// best round.
template <class Work>
double best_seconds(int threads, const Work& work) {
  std::vector<std::array<double, rounds>> seconds(static_cast<std::size_t>(threads));
  {
    std::barrier together(threads);
    std::vector<std::jthread> running;
    running.reserve(static_cast<std::size_t>(threads));
    const auto run = [&](int thread) {
      blas::use_one_thread_here();
      work(thread);
      for (double& taken : seconds[static_cast<std::size_t>(thread)]) {
        together.arrive_and_wait();
        const Clock::time_point start = Clock::now();
        work(thread);
        taken = seconds_since(start);
      }
    };
    try {
      for (int thread = 0; thread < threads; ++thread) running.emplace_back(run, thread);
    } catch (const std::system_error& error) {
      const auto started = static_cast<int>(running.size());
      for (int thread = started; thread < threads; ++thread) together.arrive_and_drop();  // nobody waits for those
      throw Error(fmt::format("only {} of {} threads can be started ({}); give fewer with --threads", started, threads,
                              error.code().message()));
    }
  }
  double best = 0;
  for (std::size_t round = 0; round < rounds; ++round) {
    double slowest = 0;
    for (const auto& of_thread : seconds) slowest = std::max(slowest, of_thread[round]);
    best = round == 0 ? slowest : std::min(best, slowest);
  }
  return best;
}

// For each thread, memory that it is the first to touch.
template <class Value>
std::vector<std::unique_ptr<Value[]>> untouched(int threads, Index values) {
  std::vector<std::unique_ptr<Value[]>> all;
  for (int thread = 0; thread < threads; ++thread)
    all.push_back(std::make_unique_for_overwrite<Value[]>(static_cast<std::size_t>(values)));
  return all;
}

// Each thread multiplies two matrices of its own.
double measure_gemm(int threads) {
  constexpr Index n = 768;
  const auto memory = untouched<double>(threads, 3 * n * n);
  std::vector<char> filled(static_cast<std::size_t>(threads), 0);
  const double seconds = best_seconds(threads, [&](int thread) {
    double* const a = memory[static_cast<std::size_t>(thread)].get();
    char& ready = filled[static_cast<std::size_t>(thread)];
    if (!std::exchange(ready, 1))
      for (Index i = 0; i < 2 * n * n; ++i) a[i] = static_cast<double>(i % 101) / 101;
    blas::multiply_nt({a, n, n}, {a + n * n, n, n}, {a + 2 * n * n, n, n});
  });
  return 2.0 * n * n * n * threads / seconds;
}

double measure_copy(int threads) {
  constexpr Index bytes = Index{1} << 25;
  const auto memory = untouched<char>(threads, 2 * bytes);
  const double seconds = best_seconds(threads, [&](int thread) {
    char* const from = memory[static_cast<std::size_t>(thread)].get();
    std::memcpy(from + bytes, from, bytes);
  });
  return static_cast<double>(bytes) * threads / seconds;
}

struct PreflightWords {
  std::vector<std::string> data;
  Index threads = 0;
  std::string device = "cpu";
  bool json = false;
};

class Preflight {
 public:
  Preflight(const PreflightWords& words, std::span<const std::string> job, CommandContext& context)
      : context_(context), communicator_(context.communicator), json_(words.json) {
    int threads = static_cast<int>(words.threads);
    std::string device = words.device;
    if (!job.empty()) {
      if (!words.data.empty()) throw UsageError("preflight reads the data of the fit after --: name none besides");
      const FitRequest fit = parse_planned_fit("preflight", job, context);
      if (threads == 0) threads = fit.threads;
      if (device == "cpu") device = fit.device;
      open_inputs_of(fit);
    } else if (!words.data.empty()) {
      agree(communicator_, [&] {
        inputs_.rows = std::make_unique<Hdf5Rows>(context.io, words.data);
        blocks_ = BlockPlan::uniform(inputs_.rows->rows(), block_rows_for(inputs_.rows->columns()));
      });
    }
    agree(communicator_, [&] { describe(threads, device); });
  }

  // Collective.
  int run() {
    measure([&] { mine_.gemm_rate = measure_gemm(mine_.threads); });
    measure([&] { mine_.copy_rate = measure_copy(mine_.threads); });
    if (inputs_.rows) measure([&] { mine_.read_rate = measure_read(); });
    if (communicator_.size() > 1) measure_sums();
    return print();
  }

 private:
  void open_inputs_of(const FitRequest& fit) {
    agree(communicator_, [&] {
      inputs_ = open_fit_inputs(fit, context_.registry.find(fit.model), context_.io);
      const JobShape shape = shape_of(fit, inputs_, fit.device != "cpu" && !usable_gpus().empty());
      blocks_ = shape.blocks;
      work_ = shape.work;
    });
  }

  void describe(int threads, const std::string& device) {
    const Topology host = Topology::whole_host();
    mine_.rank = communicator_.rank();
    mine_.host = communicator_.host_name();
    mine_.host_cores = host.cores();
    mine_.processors = Topology::bound_to();
    mine_.cores = host.cores_of(mine_.processors);
    mine_.threads = threads > 0 ? threads : default_threads();
    if (device == "cpu") return;
    const std::vector<Gpu> gpus = usable_gpus();
    mine_.wants_gpu = device != "auto" || !gpus.empty();
    if (!gpus.empty())
      mine_.gpu = gpus[static_cast<std::size_t>(communicator_.node_rank()) % gpus.size()].identity;
  }

  // On all ranks at once, as in a fit. Collective.
  template <class Work>
  void measure(const Work& work) {
    communicator_.barrier();
    agree(communicator_, work);
  }

  // Of a slice of this rank's rows; 0 where they are too few to tell.
  double measure_read() {
    constexpr Index least_bytes = Index{1} << 20, most_bytes = Index{1} << 26;
    const Hdf5Rows& rows = *inputs_.rows;
    const BlockRange mine = blocks_of_rank(*blocks_, communicator_.rank(), communicator_.size(), work_);
    const Index first = blocks_->first_row(mine.first), end = blocks_->first_row(mine.last);
    const Index row_bytes = std::max<Index>(1, rows.parts().front().row_bytes);
    const Index last = std::min(end, first + std::max<Index>(1, most_bytes / row_bytes));
    const Index at_once = block_rows_for(rows.columns());
    std::vector<double> values(static_cast<std::size_t>(at_once * rows.columns()));
    const Clock::time_point start = Clock::now();
    for (Index row = first; row < last; row += at_once) {
      rows.read(row, std::min(at_once, last - row), values.data());
      communicator_.pulse();
    }
    const Index bytes = (last - first) * row_bytes;
    return bytes < least_bytes ? 0 : static_cast<double>(bytes) / seconds_since(start);
  }

  // As the statistics of an iteration are summed.
  void measure_sums() {
    for (const Index bytes : {Index{8}, Index{1} << 16, Index{1} << 23}) {
      std::vector<std::int64_t> values(static_cast<std::size_t>(bytes / 8));
      communicator_.sum(values);
      SumTime time{bytes, 0};
      for (int round = 0; round < rounds; ++round) {
        communicator_.barrier();
        const Clock::time_point start = Clock::now();
        communicator_.sum(values);
        const double seconds = seconds_since(start);
        time.seconds = round == 0 ? seconds : std::min(time.seconds, seconds);
      }
      report_.sums.push_back(time);
    }
  }

  int print() {
    const std::string text = to_json(mine_);
    std::int64_t found = 0;
    for (const auto& bytes : communicator_.gather(std::as_bytes(std::span(text))))
      report_.ranks.push_back(parse_figures({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
    if (context_.is_root()) {
      const std::vector<Finding> findings = findings_of(report_);
      fmt::print("{}", json_ ? to_json(report_, findings) + "\n" : to_table(report_, findings));
      found = static_cast<std::int64_t>(findings.size());
    }
    communicator_.sum(std::span(&found, 1));
    return found > 0 ? 1 : 0;
  }

  CommandContext& context_;
  Communicator& communicator_;
  const bool json_;
  FitInputs inputs_;  // no rows: nothing is read
  std::optional<BlockPlan> blocks_;
  RowWork work_;
  RankFigures mine_;
  PreflightReport report_;
};

}  // namespace

void add_preflight_command(CLI::App& app, std::span<const std::string> job, const Choose& choose) {
  CLI::App* command = app.add_subcommand(
      "preflight", "Measure each rank before a job (a matrix product, a copy, a sum, a read) and name what is amiss");
  command->footer("Status 0: nothing amiss; 1: something is. A fit may come after --: its data are read as it would read them.\n"
                  "tally launch --preflight -- fit ... starts this where the fit would run.");
  const auto words = std::make_shared<PreflightWords>();
  command->add_option("data", words->data, "Data sets FILE.h5:/PATH, of which each rank reads a part");
  command->add_option("--threads", words->threads, "Threads of each rank (default: its processors)")->check(whole_number_from(1));
  add_device_option(*command, words->device);
  command->add_flag("--json", words->json, "Print the report as JSON");
  command->callback([words, job, choose] {
    choose([words, job](CommandContext& context) { return Preflight(*words, job, context).run(); });
  });
}

}  // namespace tally
