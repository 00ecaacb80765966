#pragma once
#include <string>
#include <vector>

#include "algorithms/em_fit.hpp"
#include "algorithms/em_pass.hpp"

namespace tally {

inline bool better(const Model& model, double a, double b) { return model.larger_is_better() ? a > b : a < b; }

// Why a candidate cannot go on after an E-step that gave this objective, in the user's units; empty where it can.
std::string failure_of(const Model& model, const PassPart& part, int candidate, double objective, int iteration, Pass& pass);

void fail(Candidate& candidate, const std::string& why);

// M-steps from rows of this weight.
class MStep {
 public:
  MStep(const Model& model, double weight, OnDegenerate policy) : model_(model), weight_(weight), policy_(policy) {}

  // Advances a candidate, or ends it. `degenerate` has the components that were degenerate in its M-step before, then those of
  // this one. Returns what there is to report: those that became so, all of them where each is dealt with anew.
  std::vector<Degenerate> run(std::vector<double> statistics, int iteration, Candidate& candidate,
                              std::vector<Degenerate>& degenerate) const;

 private:
  std::vector<Degenerate> advance(std::vector<double> statistics, int iteration, Candidate& candidate) const;
  void repair(std::span<const Degenerate> degenerate, std::span<double> statistics, std::span<double> parameters) const;

  const Model& model_;
  double weight_;
  OnDegenerate policy_;
};

}  // namespace tally
