#pragma once
#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "algorithms/model.hpp"
#include "core/device_engine.hpp"

namespace tally::simulation {

// What an average row adds to the statistics, and to the objective. Of two sets of rows, taken in turns, so that no M-step
// finds what the one before it left.
struct TypicalRow {
  std::array<std::vector<double>, 2> statistics;
  double objective = 0;
};

// Measures it under these parameters, on the CPU, of `rows` rows each.
TypicalRow typical_row(const Model& model, std::span<const double> parameters, const RowSource& source,
                       Index rows);

// A device whose E-step is simulated time: a block takes as long as `seconds_of` says of its rows and the number of the
// pass, and adds that many typical rows.
class SimulatedDevice final : public Device {
 public:
  using SecondsOf = std::function<double(Index rows, int pass)>;
  // `model` and `row` outlive this.
  SimulatedDevice(const Model& model, const TypicalRow& row, SecondsOf seconds_of)
      : model_(model), row_(row), seconds_of_(std::move(seconds_of)) {}

  const std::string& description() const noexcept override { return description_; }
  Index block_rows(Index columns) const override { return block_rows_for(columns); }
  std::unique_ptr<DeviceCollective> connect(std::span<const std::byte>, int, int) override { return nullptr; }
  std::unique_ptr<DeviceEngine> open(const EngineRequest& request) override;

  // Of simulated time, in the pass that ended last.
  double pass_seconds() const noexcept { return pass_seconds_; }

 private:
  class Engine;
  const Model& model_;
  const TypicalRow& row_;
  SecondsOf seconds_of_;
  std::string description_ = "simulated";
  double pass_seconds_ = 0;
};

}  // namespace tally::simulation
