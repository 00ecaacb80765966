#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "algorithms/family_kernel.hpp"
#include "algorithms/latent/chain_shape.hpp"
#include "algorithms/model.hpp"
#include "core/layout.hpp"

namespace tally {

// The distribution of a sequence's first state: maximised, the one that the transitions keep, or left as it starts.
enum class StartProbabilities { free, stationary, fixed };

// Throws UsageError.
StartProbabilities parse_startprob(const std::string& word);
const char* to_string(StartProbabilities startprob);

struct ChainOptions {
  StartProbabilities startprob = StartProbabilities::free;
  // The transitions that are possible: "ergodic", all; "left-right", from i to j >= i, and sequences begin in state 0;
  // "banded:W", |i - j| <= W; or "mask:" and a row of 0s and 1s for each state, commas between.
  std::string topology = "ergodic";
  // Concentrations of Dirichlet priors, one for all entries or one for each: (K) and (K, K). 1: none.
  std::vector<double> startprob_prior = {1}, transmat_prior = {1};
  Index mixtures = 1;              // components of the family in each state
  std::string emission = {};       // the family's word, for files and messages
  bool count_transitions = false;  // whether labels that a fit starts from count as transitions, too
};

// The topology "mask:..." of a matrix (K, K) of 0s and 1s. Throws DataError.
std::string topology_of(const Array& mask);

// Where a chain's coefficients lie, counted from the end of the family's: start probabilities (K), transitions (K, K),
// row i from state i, and their transpose.
struct ChainCoefficients {
  Index states = 0;

  Index start() const noexcept { return 0; }
  Index transitions() const noexcept { return states; }
  Index transposed() const noexcept { return states + states * states; }
  Index count() const noexcept { return states + 2 * states * states; }
};

// A sequence's rows belong to hidden states that follow each other as a Markov chain: L. R. Rabiner, "A tutorial on
// hidden Markov models", Proceedings of the IEEE 77 (1989). Each state has one component of the family, or a mixture of
// M: component k * M + m is the m-th of state k. The host half: "startprob" (K), "transmat" (K, K), and for M > 1
// "mixture_weights" (K, M). Entries of the first two that are 0 stay 0.
class Chain {
 public:
  static constexpr const char* objective_name = "log-likelihood";
  static constexpr bool larger_is_better = true;

  // Throws UsageError: unknown words, too many states, a topology or priors that do not fit them; DataError: a stationary start
  // where the topology has none.
  Chain(ChainOptions options, Index states);

  template <class RunsOn, class Kernel>
  BindKernel bind(const Kernel& of_family) const {
    return [kernels = family_kernels<typename RunsOn::Lane>(of_family),
            shape = ChainShape{states_, mixtures_, options_.count_transitions}](
               const Coefficients& coefficients, const Layout& statistics, Index, const BindOptions& options) {
      return RunsOn::bind_chain(shape, kernels, coefficients, statistics, options);
    };
  }

  Index components() const noexcept { return states_; }
  // With `feature_width` sufficient statistics a component.
  SequenceCut sequence_cut(Index columns, Index feature_width) const;
  std::map<std::string, std::string> options() const;
  void add_parameters(Layout& layout) const;
  // "starts" (K): sums over sequences of weight times the probability of the first state. "transitions" (K, K):
  // expected numbers of them, weighted.
  void add_statistics(Layout& layout) const;
  std::vector<double> bounds() const { return {1, 1}; }
  void set_defaults(const Layout& layout, std::span<double> parameters) const;
  // Draws transitions about the defaults, which are a saddle of the likelihood where emissions hardly differ. Those that
  // are frozen keep their value, those that are 0 too.
  void vary_start(const Layout& layout, const std::function<double(Index)>& draw, std::span<double> parameters,
                  const std::set<std::string>& frozen) const;
  // Counts plus prior minus 1, normalised; what nothing was counted for keeps its value. With a stationary start,
  // transmat takes its part in the likelihood of first states into account (maximize_stationary).
  void maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                const Layout& layout, std::span<double> parameters, const std::set<std::string>& frozen) const;
  // Throws UsageError: start probabilities that shall be frozen and follow the transitions.
  void check_frozen(const std::set<std::string>& frozen) const;
  // Of a start that has no other zeros than the topology's.
  Index free_parameters(const std::set<std::string>& frozen) const;
  // How many of them start at 0, and stay there.
  Index kept_zeros(const Layout& layout, std::span<const double> start, const std::set<std::string>& frozen) const;

  Index coefficient_count() const noexcept { return ChainCoefficients{states_}.count(); }
  // Adds log mixture weights to the family's constants, which are `stride` apart; writes ChainCoefficients to `own`.
  void add_to_coefficients(const Layout& layout, std::span<const double> parameters, Index stride,
                           std::span<double> of_family, std::span<double> own) const;

  void describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const;
  // With a stationary start, "startprob" follows from "transmat" whatever `arrays` says.
  void read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const;

  // Draws the component of a row that is a sequence of its own.
  using DrawComponent = std::function<Index(RandomKey key, Index row)>;
  DrawComponent sampler(const Layout& layout, std::span<const double> parameters) const;
  // Draws states, and components of states, each from the random numbers of its own row.
  class StateSampler {
   public:
    StateSampler(const Chain& chain, const Layout& layout, std::span<const double> parameters);
    // The state of `row`; `previous` is that of the row before, none where a sequence begins.
    Index state(RandomKey key, Index row, std::optional<Index> previous) const;
    Index component(RandomKey key, Index row, Index state) const;

   private:
    Index states_, mixtures_;
    std::vector<double> start_, transitions_, mixture_weights_;  // sums along rows
  };
  StateSampler state_sampler(const Layout& layout, std::span<const double> parameters) const {
    return {*this, layout, parameters};
  }

 private:
  bool allowed(Index from, Index to) const { return allowed_[static_cast<std::size_t>(from * states_ + to)] != 0; }
  bool begins_at_0() const { return options_.topology == "left-right"; }
  bool start_is_free(const std::set<std::string>& frozen) const {
    return options_.startprob == StartProbabilities::free && !begins_at_0() && !frozen.contains("startprob");
  }
  double prior(const std::vector<double>& concentrations, std::size_t i) const {
    return concentrations[concentrations.size() == 1 ? 0 : i] - 1;
  }
  void follow_transitions(const Layout& layout, std::span<double> parameters) const;

  ChainOptions options_;
  Index states_, mixtures_;
  std::vector<char> allowed_;  // (K, K)
};

// Row h - 1 of `out` (H, K) becomes the distribution of the state h steps after `now` (K): now A^h.
void forecast_states(MatrixView<const double> transitions, std::span<const double> now, MatrixView<double> out);

}  // namespace tally
