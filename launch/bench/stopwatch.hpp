#pragma once
#include <vector>

#include "algorithms/em_fit.hpp"
#include "launch/bench/clock.hpp"

namespace tally::bench {

// Times each iteration but a fit's first, which also allocates. All in seconds, an entry for each.
class Stopwatch final : public FitObserver {
 public:
  void begin_fit() { first_ = true; }
  void iterated(const IterationReport& report) override {
    const Seconds reached = now();
    if (!first_) {
      const Seconds taken = reached - last_;
      iterations.push_back(taken.wall);
      processor.push_back(taken.processor);
      e_step.push_back(report.compute_seconds + report.reduce_seconds);
      compute.push_back(report.compute_seconds);
      reduce.push_back(report.reduce_seconds);
      maximize.push_back(report.maximize_seconds);
    }
    first_ = false;
    last_ = reached;
  }

  std::vector<double> iterations, processor, e_step, compute, reduce, maximize;

 private:
  bool first_ = true;
  Seconds last_;
};

}  // namespace tally::bench
