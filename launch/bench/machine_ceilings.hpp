#pragma once
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "launch/bench/clock.hpp"
#include "launch/bench/report.hpp"

namespace tally::bench {

// Something that every rank can do at most so fast, measured on all at once and more than once.
class Ceiling {
 public:
  // `work` of one measurement on one rank, in units of `unit`, such as "GF/s", times a second.
  Ceiling(std::string name, double work, std::string unit)
      : name_(std::move(name)), work_(work), unit_(std::move(unit)) {}

  const std::string& name() const noexcept { return name_; }
  const std::string& unit() const noexcept { return unit_; }
  // Collective.
  void measure(Communicator& communicator, const std::function<Seconds()>& work_of_rank);

  // The following on rank 0 alone. Best rates: of the slowest rank, of the middle one, and of all together.
  double worst_rate() const;
  double median_rate() const;
  double rate_of_all() const;
  // By processor time: of all together, as if each had its processors to itself.
  double rate_of_all_by_processor(int threads) const;
  int worst_rank() const;
  // Where a rank measured something else than it should have: what, or nothing.
  std::string error;
  Entry entry() const;

 private:
  std::vector<double> best_rates() const;

  std::string name_;
  double work_;
  std::string unit_;
  std::vector<std::vector<Seconds>> samples_;  // of each repetition, a rank each
};

}  // namespace tally::bench
