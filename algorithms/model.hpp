#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "algorithms/degenerate.hpp"
#include "algorithms/domain.hpp"
#include "algorithms/tally.hpp"
#include "core/archive.hpp"
#include "core/block.hpp"
#include "core/layout.hpp"
#include "core/philox.hpp"
#include "core/shard.hpp"
#include "core/standardisation.hpp"

namespace tally {

// What the first scan of the data tells every rank.
struct DataSummary {
  Index rows = 0;
  Index columns = 0;
  double total_weight = 0;  // of rows that are not missing
  std::vector<double> observed_weight;  // (D), of rows whose value is there, where values may be missing; else empty
  double largest_weight = 1;
  std::vector<double> mean, minimum, maximum;  // (D), over rows of positive weight, as far as their values are there
  std::vector<double> variance;                // (D), of the sample that initialisation holds
};

// How a model's sequences are cut into pieces and blocks, on every number of ranks alike.
struct SequenceCut {
  Index piece_steps = 0;  // longer sequences are cut every so many steps
  Index block_rows = 0;
  Index cut_work = 1;     // what a row of a cut sequence costs where one of a whole one costs `whole_work`
  Index whole_work = 1;
};

// `from_zero`: per column, of values from 0 on; 0 stays 0.
enum class Scaling { none, common, per_column, from_zero };

// Named arrays in the user's units: what model files hold and what start parameters are read from.
using NamedArrays = std::map<std::string, Array>;

// Mean and variance of the rows of each component, in the user's units (K, width): a column each, or for symbols what
// indicates each symbol of each column.
struct Moments {
  Index width = 0;
  std::vector<double> mean, variance;
};

// Draws global row `row` of a sample: returns its component and writes its values (D), in the user's units, to `out`.
using Sampler = std::function<Index(RandomKey key, Index row, double* out)>;

// Draws sequences of hidden states, and rows of them. Every draw is a function of the key, the global row and the state
// before, so that any part of any sequence can be drawn anywhere.
class SequenceSampler {
 public:
  virtual ~SequenceSampler() = default;
  // The states of rows first_row, first_row + 1, ...; `previous` is the state of the row before, none where a sequence
  // begins.
  virtual void draw_states(RandomKey key, Index first_row, std::optional<Index> previous,
                           std::span<Index> states) const = 0;
  // Writes the values (D), in the user's units, of a row in this state.
  virtual void draw_values(RandomKey key, Index row, Index state, double* out) const = 0;
};

class BoundModel;
class MessageExchange;
class Device;
class DeviceCollective;

struct BindOptions {
  Precision precision = Precision::double_precision;
  int lanes = 1;
  int candidates = 1;
  Summation summation = Summation::exact;
  Device* device = nullptr;  // null: the CPU
  Index row_memory = 0;      // bytes of rows that a device may keep; 0: what it has
  bool adds_passes = false;  // statistics of several parameters will be added to one another
};

// A model as the EM loop sees it: its parameters, its statistics and how they are maximised, on the host and in
// double precision. How a block of rows adds to the statistics is the bound model's part. Parameters and statistics
// are flat buffers of standardised data (see Standardisation); `describe` and `read` translate the user's units.
class Model {
 public:
  virtual ~Model() = default;

  // The word by which the command and the files call it: "gmm".
  virtual std::string name() const = 0;
  virtual Index components() const noexcept = 0;
  // Densities of rows: one a component, or several where a component emits a mixture.
  virtual Index densities() const noexcept { return components(); }
  virtual Index columns() const noexcept = 0;
  // Options by name, as files and messages show them.
  virtual std::map<std::string, std::string> options() const = 0;

  // Options that the data decide, where nobody gave them: the model is made again with them before anything below.
  virtual std::map<std::string, std::string> options_from(const DataSummary&) const { return {}; }

  virtual Domain domain() const noexcept { return Domain::real; }
  // Whether a row of NaN alone is a missing observation; otherwise NaN is refused wherever it is.
  virtual bool takes_missing() const noexcept { return false; }
  // Nothing where rows are independent.
  virtual std::optional<SequenceCut> sequence_cut() const { return std::nullopt; }
  virtual Scaling scaling() const noexcept { return Scaling::per_column; }
  // Fixes centre and scale; called once, before anything below.
  virtual void set_standardisation(Standardisation standardisation) = 0;
  virtual const Standardisation& standardisation() const noexcept = 0;
  // log h(x) of a raw row (D): the part of its log-density that no parameter changes; null where it is 0.
  virtual std::function<double(const double*)> log_base_measure() const { return nullptr; }

  virtual const Layout& parameters() const noexcept = 0;
  virtual const Layout& statistics() const noexcept = 0;
  // For each field of the statistics, what one row of weight 1 adds at most in magnitude.
  virtual std::vector<double> bounds(const DataSummary& summary) const = 0;
  // The M-step. `parameters` holds the current ones on entry: what no data speaks for keeps its value.
  // `total_weight` is the weight of all rows. Throws DataError where no maximum exists (a singular covariance).
  virtual void maximize(std::span<const double> statistics, double total_weight,
                        std::span<double> parameters) const = 0;
  // The M-step from given labels, which starts a fit: sets parameters that EM leaves alone, too.
  virtual void maximize_start(std::span<const double> statistics, double total_weight,
                              std::span<double> parameters) const {
    maximize(statistics, total_weight, parameters);
  }
  // The components that these statistics do not determine: empty ones, which had a weight before, and those whose own
  // covariance is at most the ridge in some column. In order.
  virtual std::vector<Degenerate> degenerate(std::span<const double> /*statistics*/, double /*total_weight*/,
                                             std::span<const double> /*parameters*/) const {
    return {};
  }
  // Whether the policy has a meaning here; words why not.
  virtual std::string refuses(OnDegenerate policy) const {
    return policy == OnDegenerate::floor ? "" : name() + " does not say which components are degenerate";
  }
  // Takes these components' moments out of the statistics, so that the M-step finds them empty; returns their weight.
  virtual double leave_out(std::span<const Degenerate>, std::span<double> /*statistics*/) const { return 0; }
  // After an M-step without them: makes each one half of the component that is the heaviest then.
  virtual void split_heaviest(std::span<const Degenerate>, std::span<double> /*parameters*/) const {}
  // The weight of the rows that these statistics are sums of, where batches of rows can be fitted in steps; else 0.
  virtual double weight_of(std::span<const double> /*statistics*/) const { return 0; }
  virtual bool fits_stepwise() const noexcept { return false; }
  // Whether an array of `describe` has a row for each component.
  virtual bool has_row_per_component(const std::string& /*array*/) const { return true; }
  // What an M-step without any data keeps: parameters before a first M-step from labels.
  virtual void set_defaults(std::span<double> parameters) const = 0;

  // "log-likelihood" or "inertia".
  virtual std::string objective_name() const { return "log-likelihood"; }
  virtual bool larger_is_better() const noexcept { return true; }
  // The objective of data of this weight in the user's units.
  virtual double objective_in_user_units(double objective, double weight) const = 0;
  // Whether an iteration that changes no parameter ends the fit whatever the tolerance.
  virtual bool stops_at_fixed_point() const noexcept { return false; }
  // Free parameters as BIC and AIC count them.
  virtual Index free_parameters() const noexcept = 0;
  // Words of warning about the data, for rank 0 to print.
  virtual std::vector<std::string> warnings(const DataSummary&) const { return {}; }

  virtual NamedArrays describe(std::span<const double> parameters) const = 0;
  // Reads what is there; absent arrays keep what `parameters` holds. Throws DataError: wrong shape, impossible values.
  virtual void read(const NamedArrays& arrays, std::span<double> parameters) const = 0;
  // Parameters with these rows (K, D; user's units) as locations; the rest from the summary.
  virtual void start_at(MatrixView<const double> rows, const DataSummary& summary,
                        std::span<double> parameters) const = 0;
  // Adapts parameters that an M-step of the sample made to data that the sample did not show.
  virtual void soften_start(const DataSummary&, std::span<double> /*parameters*/) const {}
  // Sets what rows by themselves do not tell and what must not be the same for all components, in a start from a sample:
  // by draw(0), draw(1), ..., uniform in (0, 1).
  virtual void vary_start(const std::function<double(Index)>& /*draw*/, std::span<double> /*parameters*/) const {}
  // Of each component; empty where the model has none.
  virtual Moments moments(std::span<const double> /*parameters*/) const { return {}; }
  // Draws from these parameters; where rows form sequences, each as a sequence of its own.
  virtual Sampler sampler(std::span<const double> parameters) const = 0;
  // Draws sequences; null where rows are independent of each other.
  virtual std::unique_ptr<SequenceSampler> sequence_sampler(std::span<const double>) const { return nullptr; }

  // On the backend that the model was compiled for; bind_model() takes the device into account.
  virtual std::unique_ptr<BoundModel> bind(const BindOptions& options) const = 0;
};

// Results of rows; null pointers are not computed.
struct RowResults {
  std::int32_t* labels = nullptr;          // (rows)
  double* objectives = nullptr;            // (rows), internal units
  double* responsibilities = nullptr;      // (rows, K)
  const unsigned char* missing = nullptr;  // (rows), 1: not observed; null: none is
};

// `given`: the posterior is what was given. `evaluation`: messages are brought to every rank, for rows to be evaluated
// wherever they are read.
enum class PassKind { expectation, given, evaluation };

// A model bound to a backend, a precision and its lanes. One virtual call a pass or a block, none a row.
class BoundModel {
 public:
  virtual ~BoundModel() = default;
  // Uploads a candidate's parameters.
  virtual void prepare(int candidate, std::span<const double> parameters) = 0;
  // Adds every block of the shard to `tally` for these candidates, with the model's own posterior or with what was
  // given. The tally is merged over lanes and carried; where sum_over_ranks is not null it lacks the statistics, which
  // wait on the device. Throws what a block throws.
  virtual void accumulate(Shard& shard, std::span<const int> candidates, PassKind kind, Tally& tally,
                          const Shard::Pulse& pulse) = 0;
  // Where sequences are cut: brings to each piece what it must know of the others, before a pass over them. Every rank
  // takes part, also one whose part fails. Collective.
  virtual void exchange_messages(Shard&, std::span<const int> /*candidates*/, PassKind, MessageExchange&,
                                 const Shard::Pulse&) {}
  // The first row of this rank that the last pass found impossible under a candidate; -1: none, or not known.
  virtual Index impossible_row(int /*candidate*/) const { return -1; }
  // The means by which a device sums the tally over ranks where it lies, or null: then the host does. `before_sum`
  // brings to the device what the host knows, `after_sum` brings back the sum.
  virtual DeviceCollective* sum_over_ranks() { return nullptr; }
  virtual void before_sum(const Tally&) {}
  virtual void after_sum(Tally&) {}
  // Visits every block with its per-row results under candidate 0; `visit` runs on the lanes.
  struct Wanted {
    bool labels = false, objectives = false, responsibilities = false;
    bool filtered = false;  // of sequences: given the steps up to each row alone, not all of the sequence
    bool stepwise = false;  // of sequences: each row's objective counts by itself, not only their sum
  };
  using VisitRows = std::function<void(Index first_row, Index rows, const RowResults& results)>;
  virtual void evaluate(Shard& shard, Wanted wanted, const VisitRows& visit, const Shard::Pulse& pulse) = 0;
  // The likeliest path of states through each sequence under candidate 0, as the lanes find its parts, each with how many
  // of its rows are missing, and its log-probability in internal units, once, on the rank where it ends. Throws UsageError
  // where rows are independent. Collective.
  using VisitPath = std::function<void(Index first_row, std::span<const std::int32_t> states, Index missing_rows)>;
  using VisitProbability = std::function<void(Index sequence, double log_probability)>;
  virtual void decode(Shard& shard, MessageExchange& exchange, const VisitPath& visit_path,
                      const VisitProbability& visit_probability, const Shard::Pulse& pulse);
  // Bytes of workspace and sums that these lanes hold.
  virtual Index memory_bytes() const noexcept = 0;
  // Bytes that it remembers of each row that stays in memory.
  virtual Index remembered_bytes() const noexcept { return 0; }
};

}  // namespace tally
