#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "comm/agreement.hpp"
#include "core/error.hpp"
#include "launch/context.hpp"
#include "launch/device_check.hpp"
#include "launch/device_choice.hpp"

namespace tally {
namespace {

struct CheckRequest {
  std::string device = "cuda";
  std::string model, precision;  // empty: all
  bool json = false;
};

// Rank 0 gets every rank's text. Collective.
std::vector<std::string> gather_text(const std::string& text, Communicator& communicator) {
  std::vector<std::string> texts;
  for (const auto& bytes : communicator.gather(std::as_bytes(std::span(text))))
    texts.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return texts;
}

nlohmann::json to_json(const std::vector<CheckResult>& results) {
  nlohmann::json all = nlohmann::json::array();
  for (const CheckResult& result : results)  // JSON knows no infinity
    all.push_back({result.check, std::isfinite(result.measured) ? nlohmann::json(result.measured) : nlohmann::json(),
                   result.tolerance, result.failure});
  return all;
}
std::vector<CheckResult> from_json(const nlohmann::json& all) {
  std::vector<CheckResult> results;
  for (const nlohmann::json& each : all)
    results.push_back({each[0], each[1].is_null() ? NAN : each[1].get<double>(), each[2], each[3]});
  return results;
}

// A check's worst result and the rank that had it.
struct WorstResult {
  CheckResult result;
  std::size_t rank = 0;
};

// Of each check; `of_ranks` holds the results of every rank.
std::vector<WorstResult> worst_of(const std::vector<std::vector<CheckResult>>& of_ranks) {
  std::vector<WorstResult> worst;
  for (std::size_t rank = 0; rank < of_ranks.size(); ++rank)
    for (const CheckResult& result : of_ranks[rank]) {
      const auto known = std::find_if(worst.begin(), worst.end(),
                                      [&](const WorstResult& other) { return other.result.check == result.check; });
      if (known == worst.end())
        worst.push_back({result, rank});
      else if (result.severity() > known->result.severity())
        *known = {result, rank};
    }
  return worst;
}

std::string name_of(const CheckedModel& checked) {
  std::string name = checked.entry->name;
  for (const ModelOption& option : checked.entry->options)
    if (const auto chosen = checked.options.find(option.name); chosen != checked.options.end()) name += " " + chosen->second;
  return name;
}

std::string text_of(const CheckResult& result) {
  if (!result.failure.empty()) return result.failure;
  if (result.tolerance > 0) return fmt::format("{:.1e}", result.measured);
  return result.measured == 0 ? "same" : fmt::format("{:.0f} differ", result.measured);
}

// What rank 0 says about the checks, model by model as they are done.
class Report {
 public:
  Report(bool json, std::vector<std::string> devices) : json_(json), devices_(std::move(devices)) {
    if (json_) return;
    for (std::size_t rank = 0; rank < devices_.size(); ++rank) fmt::print("rank {}: {}\n", rank, devices_[rank]);
    fmt::print("Largest differences from the CPU, and whether the bits are the same however the work is cut;\n"
               "in brackets what is allowed (docs/numerics.md, \"Between devices\").\n");
  }

  void add(const CheckedModel& checked, const std::vector<WorstResult>& worst) {
    const auto* gravest = &worst.front();
    nlohmann::json checks = nlohmann::json::array();
    std::int64_t failed = 0;
    for (const WorstResult& each : worst) {
      checks.push_back(describe(each));
      failed += !each.result.passed();
      if (each.result.severity() > gravest->result.severity()) gravest = &each;
      if (!each.result.passed() && first_failure_.empty())
        first_failure_ = fmt::format("{}, {}: {} {} on rank {} ({})", name_of(checked), name_of(checked.precision),
                                     each.result.check, words_of(each.result), each.rank, devices_[each.rank]);
    }
    checks_ += static_cast<std::int64_t>(worst.size());
    failures_ += failed;
    models_.push_back({{"model", checked.entry->name},
                       {"options", checked.options},
                       {"precision", name_of(checked.precision)},
                       {"passed", failed == 0},
                       {"worst_rank", gravest->rank},
                       {"checks", std::move(checks)}});
    if (!json_) print(checked, worst, *gravest, failed == 0);
  }

  void finish() const {
    if (json_) {
      const nlohmann::json all = {{"passed", failures_ == 0}, {"devices", devices_}, {"models", models_}};
      fmt::print("{}\n", all.dump(2));
    } else if (failures_ == 0) {
      fmt::print("all {} checks passed\n", checks_);
    }
  }
  std::int64_t failures() const noexcept { return failures_; }
  std::string failure_message() const {
    return fmt::format("{} of {} checks failed; first {}; do not rely on this device before the cause is found", failures_,
                       checks_, first_failure_);
  }

 private:
  static std::string words_of(const CheckResult& result) {
    if (!result.failure.empty()) return "ended with: " + result.failure;
    if (result.tolerance > 0) return fmt::format("differ by {:.2g}, {:.0e} is allowed,", result.measured, result.tolerance);
    return fmt::format("change {:.0f} numbers", result.measured);
  }

  static nlohmann::json describe(const WorstResult& worst) {
    const CheckResult& result = worst.result;
    nlohmann::json all = {{"check", result.check},         {"passed", result.passed()},
                          {"measured", result.measured},   {"tolerance", result.tolerance},
                          {"rank", worst.rank}};
    if (!result.failure.empty()) all["failure"] = result.failure;
    return all;
  }

  void print(const CheckedModel& checked, const std::vector<WorstResult>& worst, const WorstResult& gravest,
             bool passed) {
    fmt::print("{:<22} {}  {}{}\n", name_of(checked), name_of(checked.precision), passed ? "passed" : "FAILED",
               devices_.size() > 1 ? fmt::format(", worst on rank {} ({})", gravest.rank, gravest.result.check) : "");
    std::string line = "   ";
    const auto flush = [&] {
      if (line.size() > 3) fmt::print("{}\n", line);
      line = "   ";
    };
    for (const WorstResult& each : worst) {
      const std::string allowed = each.result.tolerance > 0 ? fmt::format(" ({:.0e})", each.result.tolerance) : "";
      const std::string word =
          fmt::format(" {}{} {}{};", each.result.passed() ? "" : "FAILED: ", each.result.check, text_of(each.result), allowed);
      if (line.size() + word.size() > 118) flush();
      line += word;
    }
    flush();
    std::fflush(stdout);
  }

  bool json_;
  std::vector<std::string> devices_;
  nlohmann::json models_ = nlohmann::json::array();
  std::string first_failure_;
  std::int64_t checks_ = 0, failures_ = 0;
};

int check_device(const CheckRequest& request, CommandContext& context) {
  if (request.device == "cpu" || request.device == "auto")
    throw UsageError("--device " + request.device + " names no backend to check: cuda, or one of your own");
  const std::vector<CheckedModel> models = models_to_check(context.registry, request.model, request.precision);
  Communicator& communicator = context.communicator;
  const DeviceChoice choice = choose_device(request.device, context);
  const std::unique_ptr<Device> alone = choice.alone();
  const std::vector<std::string> devices =
      gather_text(choice.device->description() + " on " + communicator.host_name(), communicator);
  std::unique_ptr<Report> report;
  if (context.is_root()) report = std::make_unique<Report>(request.json, devices);
  DeviceCheck check(*alone, *choice.device, communicator, context.io);
  for (const CheckedModel& checked : models) {
    const auto texts = gather_text(to_json(check.run(checked)).dump(), communicator);
    std::vector<std::vector<CheckResult>> of_ranks;
    for (const std::string& text : texts) of_ranks.push_back(from_json(nlohmann::json::parse(text)));
    if (report) report->add(checked, worst_of(of_ranks));
  }
  std::int64_t failures = report ? report->failures() : 0;
  communicator.sum(std::span(&failures, 1));
  if (report) report->finish();
  agree(context.communicator, [&] {
    if (failures > 0) throw DeviceError(report ? report->failure_message() : "checks failed");
  });
  return 0;
}

}  // namespace

void add_check_device_command(CLI::App& app, const Choose& choose) {
  CLI::App* command = app.add_subcommand(
      "check-device", "Check the devices of all ranks: every model against the CPU, and the same bits in every way");
  const auto request = std::make_shared<CheckRequest>();
  command->add_option("--device", request->device, "cuda, or another backend")->capture_default_str();
  command->add_option("--model", request->model, "Check this model alone, of hmm also one emission: \"hmm poisson\"");
  command->add_option("--precision", request->precision, "Check in this precision alone: double, single or tf32");
  command->add_flag("--json", request->json, "Print the verdicts as JSON");
  command->callback([request, choose] {
    choose([request](CommandContext& context) { return check_device(*request, context); });
  });
}

}  // namespace tally
