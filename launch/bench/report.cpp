#include "launch/bench/report.hpp"

#include <array>
#include <cmath>
#include <ctime>
#include <fstream>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <stdlib.h>

#include "core/blas.hpp"
#include "launch/bench/commit.hpp"
#include "launch/bench/spread.hpp"

namespace tally::bench {
namespace {

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

std::string utc_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text.data(), length};
}

// JSON has no infinity and no NaN.
nlohmann::json number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
}

nlohmann::json json_of(const std::vector<double>& seconds) {
  const Spread spread = spread_of(seconds);
  return {{"best", number(spread.best)},     {"lower_quartile", number(spread.lower_quartile)},
          {"median", number(spread.median)}, {"upper_quartile", number(spread.upper_quartile)},
          {"worst", number(spread.worst)},   {"samples", spread.samples}};
}

nlohmann::json json_of(const Entry& entry) {
  nlohmann::json result = {{"name", entry.name}, {"kind", entry.kind}};
  if (!entry.seconds.empty()) result["seconds"] = json_of(entry.seconds);
  if (!entry.processor_seconds.empty()) result["processor_seconds"] = json_of(entry.processor_seconds);
  for (const auto& [name, value] : entry.numbers) result[name] = number(value);
  for (const auto& [name, word] : entry.words) result[name] = word;
  return result;
}

}  // namespace

double load_average() {
  double load = 0;
  return getloadavg(&load, 1) == 1 ? load : 0;
}

std::string words_on_load(double load) {
  const auto processors = static_cast<double>(std::thread::hardware_concurrency());
  if (load < 0.25 * processors) return "";
  return fmt::format(
      "The load average was {:.1f} on {:.0f} processors: others ran beside it; trust the processor's time.\n",
      load, processors);
}

std::string to_json(const Report& report) {
  const char* const core_type = std::getenv("OPENBLAS_CORETYPE");
  nlohmann::json entries = nlohmann::json::array();
  for (const Entry& entry : report.entries) entries.push_back(json_of(entry));
  const nlohmann::json all = {{"benchmark", report.benchmark},
                              {"command", report.command},
                              {"commit", commit},
                              {"date", utc_time()},
                              {"machine",
                               {{"processor", processor_name()},
                                {"processors", std::thread::hardware_concurrency()},
                                {"hosts", report.hosts},
                                {"blas", blas::library_name()},
                                {"OPENBLAS_CORETYPE", core_type ? core_type : ""},
                                {"load_average_before", report.load_before},
                                {"load_average_after", load_average()}}},
                              {"ranks", report.ranks},
                              {"threads", report.threads},
                              {"entries", std::move(entries)}};
  return all.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace tally::bench
