#pragma once
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "algorithms/registry.hpp"
#include "comm/communicator.hpp"
#include "core/device_engine.hpp"
#include "core/io_executor.hpp"
#include "launch/planted_rows.hpp"

namespace tally {

// A model with one choice of each of its options that has choices, in one precision.
struct CheckedModel {
  const ModelEntry* entry = nullptr;
  OptionValues options;
  Precision precision = Precision::double_precision;
};
// Every choice of every model (mixtures' of what data are like in double alone), of hidden Markov models every emission, or
// those of the model that is named, as "gmm", "hmm" or "hmm poisson"; in double, then in single, then in tf32, or in the one
// precision that is named. Throws UsageError.
std::vector<CheckedModel> models_to_check(const Registry& registry, const std::string& words, const std::string& precision);

// What one check found: a difference and what is allowed, or why there is none.
struct CheckResult {
  std::string check;
  double measured = 0;
  double tolerance = 0;  // 0: `measured` counts numbers that differ, where all bits should be the same
  std::string failure;

  bool passed() const noexcept { return failure.empty() && measured <= tolerance; }
  // How much of what is allowed was used.
  double severity() const noexcept;
};

// Fits planted rows on a device and on the CPU, and on the device in several ways.
class DeviceCheck {
 public:
  // `alone` sums over no rank; `linked`, the same device, over those of the communicator. All must outlive this.
  DeviceCheck(Device& alone, Device& linked, Communicator& communicator, IoExecutor& io);
  ~DeviceCheck();

  // Everything that one device can be asked, on every rank for itself; then, with several ranks, whether all together
  // come to the bits of one. Collective.
  std::vector<CheckResult> run(const CheckedModel& checked);

 private:
  struct Shape;
  struct Place;
  class Problem;
  const PlantedRows& rows_of(const Model& model, const Shape& shape);
  void check_alone(Problem& problem, std::vector<CheckResult>& results);
  CheckResult check_ranks(std::vector<std::unique_ptr<Problem>>& problems);

  Device& alone_;
  Device& linked_;
  Communicator& communicator_;
  IoExecutor& io_;
  std::map<std::tuple<Domain, Index, bool>, PlantedRows> planted_;
};

}  // namespace tally
