#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "algorithms/em_fit.hpp"
#include "algorithms/em_scan.hpp"
#include "algorithms/registry.hpp"
#include "comm/communicator.hpp"
#include "core/rows.hpp"
#include "core/sequences.hpp"
#include "launch/bench/check.hpp"
#include "launch/device_choice.hpp"

namespace tally::bench {

// What is fitted.
struct Workload {
  const ModelEntry* model = nullptr;
  OptionValues options;
  Index rows = 0, columns = 0, components = 0;
  std::shared_ptr<const Sequences> sequences = nullptr;  // that the rows form; null: they are independent
  Precision precision = Precision::double_precision;
  std::uint64_t seed = 1;

  std::unique_ptr<Model> make(OptionValues from_data = {}) const;
};

// Where, and by whom.
struct Setting {
  Communicator& communicator;
  IoExecutor& io;
  const DeviceChoice& device;
  int lanes;
};

// Everything that a fit from given start parameters needs, made once. `rows` must outlive it. Its construction and
// everything it does are collective.
class Problem {
 public:
  Problem(const Workload& workload, const RowSource& rows, const Setting& setting);

  const Model& model() const { return *model_; }
  // From distinct rows of the data, or the model's own defaults where it has nothing else.
  void start_from_rows();
  // From the arrays of FILE.h5:/GROUP.
  void start_from_file(const std::string& place);

  // One fit of so many M-steps from the start parameters: how it ends.
  Candidate run(int iterations, Summation summation, FitObserver& observer);
  // What is wrong with how it ended, or nothing; the same on all ranks.
  std::string find_error(const Candidate& fitted);

 private:
  // Objective of each row of this rank in the user's units.
  std::vector<double> row_objectives(const std::vector<double>& parameters);
  Tolerances tolerances() const;

  const Workload& workload_;
  const RowSource& rows_;
  const Setting& setting_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Shard> shard_;
  Scan scan_;
  std::vector<double> start_;
};

}  // namespace tally::bench
