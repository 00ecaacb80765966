#include "launch/bench/bench_command.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <span>

#include <CLI/App.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "algorithms/bound_device_model.hpp"
#include "comm/agreement.hpp"
#include "core/durable_file.hpp"
#include "core/error.hpp"
#include "core/hdf5_rows.hpp"
#include "launch/bench/ceilings.hpp"
#include "launch/bench/clustered_rows.hpp"
#include "launch/bench/machine_ceilings.hpp"
#include "launch/bench/scaling.hpp"
#include "launch/bench/spread.hpp"
#include "launch/bench/stopwatch.hpp"
#include "launch/bench/work.hpp"
#include "launch/bench/workloads.hpp"
#include "launch/device_choice.hpp"
#include "launch/option_checks.hpp"
#include "launch/signals.hpp"

namespace tally {
namespace bench {
namespace {

struct BenchWords {
  bool quick = false, json = false, quiet = false;
  std::string only, out, folder, device = "cpu", precision = "double";
  Index rows = 0, columns = 0, components = 0;  // 0: as --quick says
  int iterations = 0, repeat = 0, threads = 0;
};

// A file of this rank's own, removed when it goes.
class OwnFile {
 public:
  OwnFile(const std::string& folder, const std::string& host)
      : name_(
            (std::filesystem::path(folder) / fmt::format("tally-bench-{}-{}.h5", host, getpid())).string()) {}
  ~OwnFile() { std::remove(name_.c_str()); }
  OwnFile(const OwnFile&) = delete;
  OwnFile& operator=(const OwnFile&) = delete;
  const std::string& name() const { return name_; }

 private:
  std::string name_;
};

class Bench {
 public:
  Bench(const BenchWords& words, CommandContext& context)
      : words_(words),
        context_(context),
        communicator_(context.communicator),
        precision_(precision_named(words.precision)),
        device_(choose_device(words.device, context)),
        lanes_(device_.lanes(words.threads)),
        gemm_(fmt::format("gemm {} {}^3", in_float(precision_) ? "single" : "double", product_size()),
              gemm_operations(product_size()) * 1e-9, "GF/s"),
        copy_(fmt::format("copy {} MiB", copied_bytes() >> 20), 2e-9 * static_cast<double>(copied_bytes()),
              "GB/s") {}

  int run() {
    report_.benchmark = "tally bench";
    report_.command = context_.command_line;
    report_.ranks = communicator_.size();
    report_.threads = lanes_;
    report_.load_before = load_average();
    report_.hosts = hosts();
    workloads_ = workloads_of(context_.registry, sizes(), precision_, communicator_.size());
    agree(communicator_, [&] {
      if (context_.is_root() && !words_.out.empty()) static_cast<void>(DurableFile(words_.out));
    });
    measure_ceilings();
    for (const NamedWorkload& each : workloads_)
      if (asked_for(each.name)) measure_model(each);
    take_ceilings_of_models();
    if (models_.empty() && ceilings_.empty())
      throw UsageError("nothing that is measured has '" + words_.only + "' in its name");
    return conclude();
  }

 private:
  Index product_size() const { return words_.quick ? gemm_size / 2 : gemm_size; }
  Index copied_bytes() const { return words_.quick ? copy_bytes / 4 : copy_bytes; }
  int repeat() const { return words_.repeat > 0 ? words_.repeat : words_.quick ? 3 : 5; }
  int iterations() const { return words_.iterations > 0 ? words_.iterations : words_.quick ? 3 : 5; }
  Sizes sizes() const {
    Sizes sizes;
    if (words_.quick) sizes = {40000, 16, 16, 100};
    if (words_.rows > 0) sizes.rows = words_.rows;
    if (words_.columns > 0) sizes.columns = words_.columns;
    if (words_.components > 0) sizes.components = words_.components;
    return sizes;
  }
  bool asked_for(const std::string& name) const { return name.find(words_.only) != std::string::npos; }

  void say(const std::string& name) const {
    if (context_.is_root() && !words_.quiet) fmt::print(stderr, "tally bench: {}\n", name);
  }

  std::vector<std::string> hosts() const {
    const std::string& mine = communicator_.host_name();
    std::set<std::string> names;
    for (const auto& bytes : communicator_.gather(std::as_bytes(std::span(mine))))
      names.emplace(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {names.begin(), names.end()};
  }

  // The product in the models' precision and the copy are measured once more before each model.
  void measure_bounds() {
    gemm_.measure(communicator_, [&] { return time_gemm(precision_, lanes_, product_size()); });
    copy_.measure(communicator_, [&] { return time_copy(lanes_, copied_bytes()); });
  }

  void measure_ceilings() {
    measure_product_in_other_precision();
    measure_sums_over_ranks();
    measure_reading();
    measure_device();
  }

  void measure_product_in_other_precision() {
    const Precision other = in_float(precision_) ? Precision::double_precision : Precision::single_precision;
    const Index n = product_size();
    Ceiling ceiling(fmt::format("gemm {} {}^3", in_float(other) ? "single" : "double", n),
                    gemm_operations(n) * 1e-9, "GF/s");
    repeat_measuring(ceiling, [&] { return time_gemm(other, lanes_, n); });
  }

  void repeat_measuring(Ceiling& ceiling, const std::function<Seconds()>& work) {
    if (!asked_for(ceiling.name())) return;
    say(ceiling.name());
    for (int i = 0; i < repeat(); ++i) ceiling.measure(communicator_, work);
    ceilings_.push_back(std::move(ceiling));
  }

  void measure_sums_over_ranks() {
    if (communicator_.size() == 1) return;
    const Index most = words_.quick ? Index{1} << 22 : Index{1} << 26;
    for (Index bytes = 8; bytes <= most; bytes *= 32) {
      std::vector<std::int64_t> values(static_cast<std::size_t>(bytes / 8));
      Ceiling ceiling(fmt::format("allreduce {}", bytes < 1024      ? fmt::format("{} B", bytes)
                                                  : bytes < 1 << 20 ? fmt::format("{} KiB", bytes >> 10)
                                                                    : fmt::format("{} MiB", bytes >> 20)),
                      1e-9 * static_cast<double>(bytes), "GB/s");
      bool right = true;
      repeat_measuring(ceiling, [&] {
        std::fill(values.begin(), values.end(), 1);
        const Seconds start = now();
        communicator_.sum(std::span(values));
        const Seconds taken = now() - start;
        right = right && std::all_of(values.begin(), values.end(),
                                     [&](std::int64_t value) { return value == communicator_.size(); });
        return taken;
      });
      note_errors(right, ceiling.name(), "the sum is not the number of ranks");
    }
  }

  // What a rank found wrong is everybody's.
  void note_errors(bool right, const std::string& name, const std::string& error) {
    std::int64_t wrong = !right;
    communicator_.sum(std::span(&wrong, 1));
    if (wrong > 0 && !ceilings_.empty() && ceilings_.back().name() == name) ceilings_.back().error = error;
  }

  void measure_reading() {
    const Index megabytes = words_.quick ? 32 : 128, columns = 32;
    const std::string name = fmt::format("hdf5 read {} MiB", megabytes);
    if (!asked_for(name)) return;
    const Index rows = (megabytes << 20) / (columns * 8), block = block_rows_for(columns);
    const OwnFile file(words_.folder, communicator_.host_name());
    const OnTermination remove([&file] { std::remove(file.name().c_str()); });
    std::vector<double> values(static_cast<std::size_t>(block * columns));
    agree(communicator_, [&] {
      Hdf5RowWriter writer(context_.io, file.name(), "/x", rows, columns, Hdf5RowWriter::Type::float64);
      for (Index first = 0; first < rows; first += block) {
        std::fill(values.begin(), values.end(), static_cast<double>(first));
        writer.append(values.data(), std::min(block, rows - first));
      }
      writer.finish();
    });
    const Hdf5Rows source(context_.io, {file.name() + ":/x"});
    bool right = true;
    Ceiling ceiling(name, 1e-9 * static_cast<double>(rows * columns * 8), "GB/s");
    repeat_measuring(ceiling, [&] {
      const Seconds start = now();
      for (Index first = 0; first < rows; first += block) {
        const Index count = std::min(block, rows - first);
        source.read(first, count, values.data());
        const auto expected = static_cast<double>(first);
        right = right && values.front() == expected &&
                values[static_cast<std::size_t>(count * columns - 1)] == expected;
      }
      return now() - start;
    });
    note_errors(right, name, "what was read is not what was written");
  }

  // Copies between the host and the device's memory, through the interface of backends: the sums of a large model.
  void measure_device() {
    if (!device_.device) return;
    constexpr Index components = 1024, columns = 512;
    const auto model = context_.registry.find("kmeans").make(components, columns, {});
    model->set_standardisation(Standardisation::none(columns));
    const auto bound = bind_model(*model, {precision_, 1, 1, Summation::exact, device_.device.get()});
    DeviceEngine& engine = dynamic_cast<BoundDeviceModel&>(*bound).engine();
    bound->prepare(0, std::vector<double>(static_cast<std::size_t>(model->parameters().size()), 0.0));
    const std::array<std::int32_t, 1> only = {0};
    engine.begin(only, std::vector<Grid>(model->statistics().fields().size(), make_grid(1, 20)), 1);
    std::vector<std::int64_t> sent(static_cast<std::size_t>(Tally::buffer_size(1, model->statistics()))), received(sent.size());
    for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::int64_t>(i);
    const auto bytes = static_cast<double>(sent.size() * sizeof sent.front());
    const auto name = [&](const char* way) { return fmt::format("{} {:.0f} MB", way, 1e-6 * bytes); };
    const auto timed = [](const auto& work) {
      const Seconds start = now();
      work();
      return now() - start;
    };
    Ceiling to(name("host to device"), 1e-9 * bytes, "GB/s"),
        from(name("device to host"), 1e-9 * bytes, "GB/s");
    repeat_measuring(to, [&] { return timed([&] { engine.write(0, sent); }); });
    engine.write(0, sent);
    repeat_measuring(from, [&] { return timed([&] { engine.read(0, received); }); });
    note_errors(received == sent || !asked_for(from.name()), from.name(),
                "what came back is not what was sent");
  }

  void measure_model(const NamedWorkload& named) {
    say(named.name);
    const Workload& workload = named.workload;
    Model& model = models_.emplace_back();
    model.named = &named;
    Domain domain;
    try {
      domain = workload.make()->domain();
    } catch (const UsageError& error) {
      model.left_out = error.what();
      return;
    }
    const ClusteredRows rows(domain, workload.rows, workload.columns, workload.components, workload.seed);
    const Setting setting{communicator_, context_.io, device_, lanes_};
    Problem problem(workload, rows, setting);
    problem.start_from_rows();
    Candidate fitted;
    for (int i = 0; i < repeat(); ++i) {
      measure_bounds();
      model.watch.begin_fit();
      fitted = problem.run(iterations(), Summation::exact, model.watch);
    }
    model.error = problem.find_error(fitted);
  }

  void take_ceilings_of_models() {
    if (models_.empty() && !asked_for(gemm_.name()) && !asked_for(copy_.name())) return;
    if (models_.empty())
      for (int i = 0; i < repeat(); ++i) measure_bounds();
    ceilings_.insert(ceilings_.begin(), {gemm_, copy_});
  }

  struct Model {
    const NamedWorkload* named = nullptr;
    Stopwatch watch;
    std::string error;
    std::string left_out;  // why it was not measured
  };

  Entry entry_of(const Model& model) const {
    Entry entry;
    entry.name = model.named->name;
    entry.kind = "model";
    entry.seconds = model.watch.iterations;
    entry.processor_seconds = model.watch.processor;
    entry.words = {
        {"check", model.left_out.empty() ? verdict(model.error) : "not measured: " + model.left_out},
        {"precision", words_.precision}};
    entry.words["device"] = device_.device ? device_.device->description() : "cpu";
    const Work work = work_of(model.named->workload);
    const double best = spread_of(entry.seconds).best, processor = spread_of(entry.processor_seconds).best;
    if (entry.seconds.empty()) return entry;
    entry.numbers["rows_per_second"] = static_cast<double>(model.named->workload.rows) / best;
    entry.numbers["gbytes_per_second"] = 1e-9 * work.bytes / best;
    if (work.operations > 0) {
      entry.numbers["gflops"] = 1e-9 * work.operations / best;
      entry.words["convention"] = work.convention;
    }
    if (device_.device) return entry;  // the ceilings are the host's
    const double product = 1e-9 * work.operations / gemm_.rate_of_all(),
                 reading = 1e-9 * work.bytes / copy_.rate_of_all();
    const bool by_product = product >= reading;
    const double bound_by_processor =
        1e-9 * (by_product ? work.operations / gemm_.rate_of_all_by_processor(lanes_)
                           : work.bytes / copy_.rate_of_all_by_processor(lanes_));
    entry.words["bound"] = by_product ? "gemm" : "memory";
    if (work.operations > 0) entry.numbers["fraction_of_gemm"] = product / best;
    entry.numbers["fraction_of_memory"] = reading / best;
    entry.numbers["fraction_of_bound"] = std::max(product, reading) / best;
    entry.numbers["fraction_by_processor_time"] = bound_by_processor * lanes_ / processor;
    return entry;
  }

  int conclude() {
    bool right = true;
    agree(communicator_, [&] {
      if (!context_.is_root()) return;
      for (const Ceiling& ceiling : ceilings_) report_.entries.push_back(ceiling.entry());
      for (const Model& model : models_) report_.entries.push_back(entry_of(model));
      const std::string text = to_json(report_);
      if (!words_.out.empty()) write_file_durably(words_.out, std::as_bytes(std::span(text)));
      if (words_.json)
        fmt::print("{}", text);
      else
        print_table();
    });
    for (const Ceiling& ceiling : ceilings_) right = right && ceiling.error.empty();
    for (const Model& model : models_) right = right && model.error.empty();
    return right ? 0 : 1;
  }

  void print_table() const {
    fmt::print("{:<36} {:>14} {:>14}  {}\n", "ceiling", "slowest rank", "median rank",
               report_.ranks > 1 ? "slowest" : "");
    for (const Ceiling& ceiling : ceilings_)
      fmt::print("{:<36} {:>9.4g} {} {:>9.4g} {}  {}{}\n", ceiling.name(), ceiling.worst_rate(),
                 ceiling.unit(), ceiling.median_rate(), ceiling.unit(),
                 report_.ranks > 1 ? fmt::format("rank {}", ceiling.worst_rank()) : "",
                 ceiling.error.empty() ? "" : "  " + verdict(ceiling.error));
    if (!models_.empty())
      fmt::print("\n{:<36} {:>10} {:>10} {:>10} {:>8}  {:<6} {:>5} {:>7}  {}\n", "E-step and M-step",
                 "median ms", "best ms", "rows/s", "GF/s", "bound", "of it", "by cpu", "result");
    for (const Entry& entry : report_.entries)
      if (entry.kind == "model") print_row(entry);
    fmt::print("{}", words_on_load(report_.load_before));
  }

  static void print_row(const Entry& entry) {
    const auto number = [&](const char* name, const char* format, double scale = 1) {
      const auto found = entry.numbers.find(name);
      return found == entry.numbers.end() ? std::string("-")
                                          : fmt::format(fmt::runtime(format), scale * found->second);
    };
    const auto bound = entry.words.find("bound");
    const Spread seconds = spread_of(entry.seconds);
    fmt::print("{:<36} {:>10.3f} {:>10.3f} {:>10} {:>8}  {:<6} {:>5} {:>7}  {}\n", entry.name,
               1e3 * seconds.median, 1e3 * seconds.best, number("rows_per_second", "{:.3g}"),
               number("gflops", "{:.1f}"), bound == entry.words.end() ? "-" : bound->second,
               number("fraction_of_bound", "{:.0f} %", 100),
               number("fraction_by_processor_time", "{:.0f} %", 100), entry.words.at("check"));
  }

  const BenchWords& words_;
  CommandContext& context_;
  Communicator& communicator_;
  const Precision precision_;
  const DeviceChoice device_;
  const int lanes_;
  Ceiling gemm_, copy_;
  std::vector<Ceiling> ceilings_;
  std::vector<NamedWorkload> workloads_;
  std::vector<Model> models_;
  Report report_;
};

}  // namespace
}  // namespace bench

void add_bench_command(CLI::App& app, const Choose& choose, const ChooseAlone& choose_alone) {
  CLI::App* command =
      app.add_subcommand("bench", "Measure this machine, and every model beside what it can do");
  command->require_subcommand(0, 1);
  command->footer(
      "Each model's iterations (E-step and M-step) are compared with the larger of two times that no program "
      "beats: its "
      "operations at the rate of the library's matrix product, and its rows at the rate of a copy. Results "
      "are checked: "
      "a wrong one prints WRONG, and the exit status is 1. Under mpirun all ranks measure at once, and fit "
      "together.");
  const auto words = std::make_shared<bench::BenchWords>();
  words->folder = std::filesystem::temp_directory_path().string();
  command->add_flag("--quick", words->quick,
                    "Small sizes and few repetitions: within two minutes on two cores");
  command->add_option("--only", words->only, "Only what has this in its name, as gmm or \"hdf5 read\"");
  command->add_option("--rows", words->rows, "Rows of each rank (default 200000; quick: 40000)")
      ->check(whole_number_from(1));
  command->add_option("--columns", words->columns, "Columns (default 32; quick: 16)")
      ->check(whole_number_from(1));
  command->add_option("-k,--components", words->components, "Components or states (default 64; quick: 16)")
      ->check(whole_number_from(1));
  command->add_option("--iterations", words->iterations, "M-steps of each fit (default 5; quick: 3)")
      ->check(whole_number_from(1));
  command
      ->add_option("--repeat", words->repeat,
                   "Fits of each model, and measurements of each ceiling (default 5; quick: 3)")
      ->check(whole_number_from(1));
  command->add_option("--threads", words->threads, "Threads of each rank (default: its processors)")
      ->check(whole_number_from(1));
  add_device_option(*command, words->device);
  add_precision_option(*command, words->precision);
  command->add_option("--folder", words->folder, "Where each rank's file to be read goes for that time")
      ->capture_default_str();
  command->add_option("-o,--out", words->out,
                      "File to write the report to, as JSON; bench/compare compares two of them");
  command->add_flag("--json", words->json, "Print the report as JSON");
  command->add_flag("-q,--quiet", words->quiet, "Do not say what is being measured");
  const CLI::App* const scaling = bench::add_scaling_command(*command, choose_alone);
  command->callback([words, choose, scaling] {
    if (scaling->parsed()) return;
    choose([words](CommandContext& context) { return bench::Bench(*words, context).run(); });
  });
}

}  // namespace tally
