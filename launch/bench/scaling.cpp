#include "launch/bench/scaling.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <thread>

#include <CLI/App.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <stdlib.h>
#include <unistd.h>

#include "core/durable_file.hpp"
#include "core/error.hpp"
#include "core/hdf5_rows.hpp"
#include "core/io_executor.hpp"
#include "launch/bench/check.hpp"
#include "launch/bench/report.hpp"
#include "launch/cluster/supervisor.hpp"
#include "launch/option_checks.hpp"
#include "launch/output.hpp"
#include "launch/placement_words.hpp"
#include "launch/resources.hpp"
#include "launch/signals.hpp"

namespace tally::bench {
namespace {

constexpr double weak_tolerance = 1e-9, weak_tolerance_single = 1e-4;  // of the mean objective, relative

struct ScalingWords {
  std::string ranks = "1,2", kinds = "both", model = "gmm", precision = "double", memory;
  Index rows = 200000, columns = 32, components = 64;
  int threads = 1, iterations = 10, repeat = 3;
  std::string hosts, hostfile, mpirun, cluster, folder, out, plot;
  int ranks_per_node = 0;
  bool json = false, quiet = false;
};

// A folder of this command's own, removed with what it holds.
class WorkFolder {
 public:
  explicit WorkFolder(const std::string& parent)
      : path_((std::filesystem::path(parent) / "tally-scaling-XXXXXX").string()) {
    if (!mkdtemp(path_.data())) throw DataError("--folder " + parent + ": no folder can be made there");
  }
  ~WorkFolder() { remove(); }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  void remove() const {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

 private:
  std::string path_;
};

std::string this_program() {
  return std::filesystem::read_symlink("/proc/self/exe").string();
}

class Scaling {
 public:
  Scaling(const ScalingWords& words, std::string command_line)
      : words_(words), counts_(parse_rank_counts(words.ranks)), folder_(words.folder) {
    report_.benchmark = "tally bench scaling";
    report_.command = std::move(command_line);
    report_.ranks = counts_.back();
    report_.threads = words.threads;
    report_.load_before = load_average();
  }

  int run() {
    // The jobs are in groups of their own and end with this process.
    const SignalThread signals(true);
    const OnTermination clean_up([this] { folder_.remove(); });
    check_words();
    generate();
    for (int i = 0; i < words_.repeat; ++i)
      for (const std::string& kind : kinds())
        for (const int ranks : counts_) {
          say(fmt::format("{} on {} {}, {} of {}", kind, ranks, ranks == 1 ? "rank" : "ranks", i + 1,
                          words_.repeat));
          runs_[{kind, ranks}].push_back(run_once(kind, ranks));
        }
    for (const std::string& kind : kinds()) add_points(kind);
    report_.hosts = {hosts_.begin(), hosts_.end()};
    return conclude();
  }

 private:
  std::vector<std::string> kinds() const {
    if (words_.kinds == "both") return {"strong", "weak"};
    return {words_.kinds};
  }
  bool on_this_host() const {
    return words_.hosts.empty() && words_.hostfile.empty() && words_.cluster.empty();
  }
  bool oversubscribed(int ranks) const {
    return on_this_host() && ranks * words_.threads > static_cast<int>(std::thread::hardware_concurrency());
  }
  void say(const std::string& what) const {
    if (!words_.quiet) fmt::print(stderr, "tally bench scaling: {}\n", what);
  }
  std::string shape() const {
    return fmt::format("{} {} x {}, K {}", words_.model, words_.rows, words_.columns, words_.components);
  }

  void check_words() const {
    if (!words_.memory.empty()) parse_bytes(words_.memory);
    refuse_to_share({words_.out, words_.plot}, {});
    for (const std::string& name : {words_.out, words_.plot})
      if (!name.empty()) static_cast<void>(DurableFile(name));
  }

  // Runs this program once more; what it printed. Throws where it fails: it has said why.
  static std::string run_tally(const std::vector<std::string>& words) {
    StartLine line;
    line.words = {this_program()};
    line.words.insert(line.words.end(), words.begin(), words.end());
    const Output output = output_of(line, std::chrono::hours(24));
    if (output.status != 0)
      throw_error(static_cast<ErrorKind>(output.status < 6 ? output.status : 1),
                  fmt::format("'{}' ended with status {}", quoted(words), output.status));
    return output.text;
  }

  void generate() const {
    run_tally({"generate", words_.model, "--rows", std::to_string(words_.rows), "--columns",
               std::to_string(words_.columns), "--components", std::to_string(words_.components),
               "--separation", "1", "--out", folder_.file("data.h5")});
  }

  // Strong: one file, whatever the ranks. Weak: that file once more for each rank, so that all have as many rows, and the
  // same answer is right.
  std::vector<std::string> fit_words(const std::string& kind, int ranks) const {
    std::vector<std::string> words = {"fit", words_.model};
    for (int i = 0; i < (kind == "weak" ? ranks : 1); ++i) words.push_back(folder_.file("data.h5") + ":/x");
    words.insert(
        words.end(),
        {"--components", std::to_string(words_.components), "--init",
         "parameters:" + folder_.file("data.planted.h5"), "--max-iter", std::to_string(words_.iterations),
         "--tol", "0", "--threads", std::to_string(words_.threads), "--precision", words_.precision,
         "--quiet", "--json", "--out", folder_.file("model.h5"), "--times", folder_.file("times.json")});
    if (words_.model == "hmm")
      words.insert(words.end(), {"--emission", "gaussian", "--covariance", "spherical", "--lengths",
                                 lengths(kind, ranks)});
    if (!words_.memory.empty()) words.insert(words.end(), {"--memory", words_.memory});
    return words;
  }

  // A data set of them: many short sequences, the last one of each file's rows shorter where they do not divide.
  std::string lengths(const std::string& kind, int ranks) const {
    const Index steps = 100, files = kind == "weak" ? ranks : 1, count = (words_.rows + steps - 1) / steps;
    const std::string file = folder_.file("lengths.h5");
    IoExecutor io;
    Hdf5RowWriter writer(io, file, "/lengths", files * count, 0, Hdf5RowWriter::Type::int64);
    for (Index i = 0; i < files * count; ++i) {
      const std::int64_t length = std::min(steps, words_.rows - i % count * steps);
      writer.append(&length, 1);
    }
    writer.finish();
    return file + ":/lengths";
  }

  std::vector<std::string> launch_words(int ranks) const {
    std::vector<std::string> words = {"launch", "--ranks", std::to_string(ranks)};
    const auto add = [&](const char* option, const std::string& value) {
      if (!value.empty()) words.insert(words.end(), {option, value});
    };
    add("--hosts", words_.hosts);
    add("--hostfile", words_.hostfile);
    add("--cluster", words_.cluster);
    add("--mpirun", words_.mpirun);
    if (words_.ranks_per_node > 0) add("--ranks-per-node", std::to_string(words_.ranks_per_node));
    words.emplace_back("--");
    return words;
  }

  ScalingRun run_once(const std::string& kind, int ranks) {
    std::vector<std::string> words = launch_words(ranks);
    const std::vector<std::string> job = fit_words(kind, ranks);
    words.insert(words.end(), job.begin(), job.end());
    ScalingRun run;
    const std::string printed = run_tally(words);
    try {
      const auto result = nlohmann::json::parse(printed);
      run.rows = result.at("rows");
      run.total = result.at("total");
      run.ranks = times_of_json(read_text(folder_.file("times.json")));
    } catch (const nlohmann::json::exception& error) {
      throw DataError(fmt::format("'{}' did not say what it should: {}", quoted(words), error.what()));
    }
    for (const RankTimes& rank : run.ranks) hosts_.insert(rank.host);
    return run;
  }

  // What is wrong with the results of a number of ranks, or nothing.
  std::string error_of(const std::string& kind, int ranks) const {
    const ScalingRun& first = runs_.at({kind, counts_.front()}).front();
    for (const ScalingRun& run : runs_.at({kind, ranks})) {
      if (static_cast<int>(run.ranks.size()) != ranks)
        return fmt::format("{} ranks took part", run.ranks.size());
      if (kind == "strong" && run.total != first.total)
        return fmt::format("the objective is {}, on {} ranks {}", run.total, counts_.front(), first.total);
      const double mean = run.total / static_cast<double>(run.rows),
                   expected = first.total / static_cast<double>(first.rows);
      const double tolerance = words_.precision == "double" ? weak_tolerance : weak_tolerance_single;
      if (!(std::abs(mean - expected) <= tolerance * std::abs(expected)))
        return fmt::format("the mean objective is {}, on {} ranks {}", mean, counts_.front(), expected);
    }
    return "";
  }

  void add_points(const std::string& kind) {
    std::vector<ScalingPoint>& points = points_[kind];
    std::vector<Entry> entries;
    for (const int ranks : counts_) {
      Entry& entry = entries.emplace_back();
      ScalingPoint& point =
          points.emplace_back(point_of(runs_.at({kind, ranks}), &entry.seconds, &entry.processor_seconds));
      entry.name = fmt::format("{} {} on {} {}", kind, shape(), ranks, ranks == 1 ? "rank" : "ranks");
      entry.kind = kind;
      const std::string error = error_of(kind, ranks);
      right_ = right_ && error.empty();
      entry.words = {{"check", verdict(error)},
                     {"precision", words_.precision},
                     {"oversubscribed", oversubscribed(ranks) ? "yes" : "no"}};
      for (std::size_t part = 0; part < split_names.size(); ++part)
        entry.numbers[std::string(split_names[part]) + "_seconds"] = point.split[part];
    }
    compare_with_first(points);
    for (std::size_t i = 0; i < points.size(); ++i) {
      auto& numbers = entries[i].numbers;
      numbers["ranks"] = points[i].ranks;
      numbers["rows"] = static_cast<double>(points[i].rows);
      numbers["speedup"] = points[i].speedup;
      numbers["efficiency"] = points[i].efficiency;
      numbers["efficiency_by_processor_time"] = points[i].efficiency_by_processor;
      numbers["imbalance"] = points[i].imbalance;
    }
    report_.entries.insert(report_.entries.end(), entries.begin(), entries.end());
  }

  int conclude() {
    const std::string text = to_json(report_);
    if (!words_.out.empty()) write_file_durably(words_.out, std::as_bytes(std::span(text)));
    if (!words_.plot.empty()) {
      std::string hosts;
      for (const std::string& host : hosts_) hosts += (hosts.empty() ? "" : ", ") + host;
      const std::string plot =
          scaling_plot(shape() + fmt::format(", {}, {} {} a rank", words_.precision, words_.threads,
                                             words_.threads == 1 ? "thread" : "threads"),
                       "on " + (hosts.size() > 80 ? fmt::format("{} hosts", hosts_.size()) : hosts) +
                           "; weak: so many rows for each rank",
                       points_["strong"], points_["weak"]);
      write_file_durably(words_.plot, std::as_bytes(std::span(plot)));
    }
    if (words_.json)
      fmt::print("{}", text);
    else
      print_table();
    return right_ ? 0 : 1;
  }

  void print_table() {
    for (const std::string& kind : kinds()) {
      fmt::print("{} {}\n{:>6} {:>10} {:>13} {:>8} {:>6} {:>6} {:>8} ", kind, shape(), "ranks", "ms, median",
                 "quartiles", "speedup", "eff.", "by cpu", "imbal.");
      for (const char* name : split_names) fmt::print(" {:>9}", name);
      fmt::print("  result\n");
      for (const ScalingPoint& point : points_[kind]) {
        fmt::print("{:>6} {:>10.2f} {:>13} {:>8.2f} {:>4.0f} % {:>4.0f} % {:>6.1f} % ", point.ranks,
                   1e3 * point.seconds.median,
                   fmt::format("{:.1f}-{:.1f}", 1e3 * point.seconds.lower_quartile,
                               1e3 * point.seconds.upper_quartile),
                   point.speedup, 100 * point.efficiency, 100 * point.efficiency_by_processor,
                   100 * point.imbalance);
        for (const double seconds : point.split) fmt::print(" {:>9.3f}", 1e3 * seconds);
        fmt::print("  {}{}\n", verdict(error_of(kind, point.ranks)),
                   oversubscribed(point.ranks) ? ", oversubscribed" : "");
      }
    }
    fmt::print(
        "The parts are means over ranks and iterations, in ms. By cpu: efficiency of the processor's time in "
        "the E-step.\n");
    fmt::print("{}", words_on_load(report_.load_before));
  }

  const ScalingWords& words_;
  const std::vector<int> counts_;
  const WorkFolder folder_;
  std::map<std::pair<std::string, int>, std::vector<ScalingRun>> runs_;
  std::map<std::string, std::vector<ScalingPoint>> points_;
  std::set<std::string> hosts_;
  Report report_;
  bool right_ = true;
};

}  // namespace

ScalingPoint point_of(std::span<const ScalingRun> runs, std::vector<double>* seconds,
                      std::vector<double>* processor) {
  ScalingPoint point;
  point.ranks = static_cast<int>(runs.front().ranks.size());
  point.rows = runs.front().rows;
  std::vector<double> wholes, spent, busy(runs.front().ranks.size());
  for (const ScalingRun& run : runs) {
    const std::size_t count = run.ranks.front().iterations.size();
    for (std::size_t i = count > 1 ? 1 : 0; i < count; ++i) {
      double whole = 0, processors = 0;
      for (std::size_t r = 0; r < run.ranks.size(); ++r) {
        const IterationTimes& times = run.ranks[r].iterations[i];
        whole = std::max(whole, times.whole);
        processors = std::max(processors, times.processor);
        busy[r] += times.read + times.compute;
        const double parts[] = {times.read, times.compute, times.wait, times.allreduce, times.maximize};
        double other = times.whole;
        for (std::size_t part = 0; part < std::size(parts); ++part) {
          point.split[part] += parts[part];
          other -= parts[part];
        }
        point.split.back() += std::max(0.0, other);
      }
      wholes.push_back(whole);
      spent.push_back(processors);
    }
  }
  for (double& part : point.split) part /= static_cast<double>(wholes.size() * busy.size());
  double sum = 0;
  for (const double each : busy) sum += each;
  if (sum > 0)
    point.imbalance =
        *std::max_element(busy.begin(), busy.end()) * static_cast<double>(busy.size()) / sum - 1;
  point.seconds = spread_of(wholes);
  point.processor = spread_of(spent).median;
  if (seconds) *seconds = std::move(wholes);
  if (processor) *processor = std::move(spent);
  return point;
}

void compare_with_first(std::vector<ScalingPoint>& points) {
  const ScalingPoint first = points.front();
  for (ScalingPoint& point : points) {
    const double work = static_cast<double>(point.rows) / static_cast<double>(first.rows);
    point.speedup = first.ranks * work * first.seconds.median / point.seconds.median;
    point.efficiency = point.speedup / point.ranks;
    point.efficiency_by_processor = first.ranks * work * first.processor / point.processor / point.ranks;
  }
}

std::vector<int> parse_rank_counts(const std::string& text) {
  std::vector<int> counts;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    int count = 0;
    const auto [end, failure] = std::from_chars(word.data(), word.data() + word.size(), count);
    if (failure != std::errc() || end != word.data() + word.size() || count < 1)
      throw UsageError("--ranks " + text + ": '" + word + "' is no number of ranks");
    if (!counts.empty() && count <= counts.back()) throw UsageError("--ranks " + text + " does not ascend");
    counts.push_back(count);
  }
  if (counts.empty()) throw UsageError("--ranks needs numbers of ranks, as 1,2,4");
  return counts;
}

CLI::App* add_scaling_command(CLI::App& bench, const ChooseAlone& choose) {
  CLI::App* command =
      bench.add_subcommand("scaling", "Fit the same on more and more ranks, and say where the time goes");
  command->fallthrough(false);
  command->footer(
      "Starts each fit as `tally launch` does, on this host, on --hosts, or in the Slurm allocation that it "
      "is in. Strong: "
      "--rows in all; weak: --rows for each rank. Results are checked: the objective must have the same bits "
      "on all ranks "
      "(strong), the same mean (weak); a wrong one prints WRONG, and the exit status is 1. Give as many "
      "ranks as there are "
      "cores for them, or what is measured is how they share.");
  const auto words = std::make_shared<ScalingWords>();
  words->folder = std::filesystem::temp_directory_path().string();
  command
      ->add_option("--ranks", words->ranks,
                   "Numbers of ranks, ascending; the first is what the others are compared with")
      ->capture_default_str();
  command->add_option("--kind", words->kinds, "strong, weak or both")
      ->check(CLI::IsMember({"strong", "weak", "both"}))
      ->capture_default_str();
  command->add_option("--model", words->model, "What is fitted, to data that `tally generate` makes of it")
      ->check(CLI::IsMember({"gmm", "kmeans", "poisson", "categorical", "bernoulli", "exponential", "gamma", "binomial", "multinomial",
                             "von-mises-fisher", "student-t", "hmm"}))
      ->capture_default_str();
  command->add_option("--rows", words->rows, "Rows in all (strong), of each rank (weak)")
      ->check(whole_number_from(1))
      ->capture_default_str();
  command->add_option("--columns", words->columns, "Columns")
      ->check(whole_number_from(1))
      ->capture_default_str();
  command->add_option("-k,--components", words->components, "Components or states")
      ->check(whole_number_from(1))
      ->capture_default_str();
  command->add_option("--threads", words->threads, "Threads of each rank")
      ->check(whole_number_from(1))
      ->capture_default_str();
  command->add_option("--precision", words->precision, "double, single or tf32")
      ->check(CLI::IsMember(precision_names()))
      ->capture_default_str();
  command->add_option("--memory", words->memory,
                      "Memory for the rows of each rank, as 64M; more is streamed in every iteration");
  command->add_option("--iterations", words->iterations, "M-steps of each fit")
      ->check(whole_number_from(1))
      ->capture_default_str();
  command->add_option("--repeat", words->repeat, "Fits on each number of ranks, in turns")
      ->check(whole_number_from(1))
      ->capture_default_str();
  command->add_option("--hosts", words->hosts, "Hosts, as for `tally launch`");
  command->add_option("--hostfile", words->hostfile, "A file of them");
  command->add_option("--cluster", words->cluster,
                      "The hosts, as `tally topology` describes them, in a file");
  command->add_option("--ranks-per-node", words->ranks_per_node, "Ranks on each host")
      ->check(whole_number_from(1));
  command->add_option("--mpirun", words->mpirun, "The mpirun to start them with");
  command->add_option("--folder", words->folder, "Where the data go for that time; all hosts must share it")
      ->capture_default_str();
  command->add_option("-o,--out", words->out,
                      "File to write the report to, as JSON; bench/compare compares two of them");
  command->add_option("--plot", words->plot, "File to write a plot to, as SVG");
  command->add_flag("--json", words->json, "Print the report as JSON");
  command->add_flag("-q,--quiet", words->quiet, "Do not say what is being run");
  command->callback([words, choose] {
    choose([words] {
      std::ifstream typed("/proc/self/cmdline");
      std::string line;
      for (std::string word; std::getline(typed, word, '\0');) line += (line.empty() ? "" : " ") + word;
      return Scaling(*words, line).run();
    });
  });
  return command;
}

}  // namespace tally::bench
