#pragma once
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "algorithms/backend.hpp"
#include "algorithms/kept_zeros.hpp"
#include "algorithms/model.hpp"

namespace tally {

// Sequences of a chain's states with the family's values.
template <class StateSampler, class DrawValue>
class PairSequenceSampler final : public SequenceSampler {
 public:
  PairSequenceSampler(StateSampler states, DrawValue value) : states_(std::move(states)), value_(std::move(value)) {}

  void draw_states(RandomKey key, Index first_row, std::optional<Index> previous,
                   std::span<Index> states) const override {
    for (Index& state : states) previous = state = states_.state(key, first_row++, previous);
  }
  void draw_values(RandomKey key, Index row, Index state, double* out) const override {
    value_(states_.component(key, row, state), key, row, out);
  }

 private:
  StateSampler states_;
  DrawValue value_;
};

// A model as a pair: an observation family under a latent structure. Everything a model must say follows from the two.
// Kernels read the family's coefficients, then the latent structure's; their statistics lie in the same order.
// EM leaves the parameters named in `frozen` as they start. A family or latent structure that has several fields of
// parameters, or whose others then have another maximum, takes `frozen` as the last argument of `maximize` and
// `free_parameters`.
// A family whose log-densities cancel too much for TF32 says `static constexpr bool rounds_products = false`: where tf32 is
// asked for, its models are computed in single precision.
// The family's block half is a kernel of any type that family_kernel.hpp describes; it runs on the backend that the source
// is compiled for.
template <class Family, class Latent>
class PairModel final : public Model, public KeepsZeros {
 public:
  // Throws UsageError: names in `frozen` that are none of the parameters.
  template <class Kernel, class RunsOn = Backend>
  PairModel(std::string name, Latent latent, Family family, const Kernel& kernel, std::set<std::string> frozen = {},
            RunsOn = {})
      : name_(std::move(name)),
        latent_(std::move(latent)),
        family_(std::move(family)),
        feature_width_(kernel.feature_width()),
        has_kernel_about_means_(requires { kernel.about_means(); }),
        bind_(latent_.template bind<RunsOn>(kernel)),
        standardisation_(Standardisation::none(family_.columns())),
        frozen_(std::move(frozen)) {
    latent_.add_parameters(parameters_);
    family_.add_parameters(parameters_);
    family_.add_statistics(statistics_);
    latent_.add_statistics(statistics_);
    for (const std::string& field : frozen_)
      if (!is_parameter(field))
        throw UsageError("--freeze " + field + ": " + name_ + " has no such parameters, but " + parameter_names());
    if constexpr (requires { latent_.check_frozen(frozen_); }) latent_.check_frozen(frozen_);
  }

  std::string name() const override { return name_; }
  Index components() const noexcept override { return latent_.components(); }
  Index densities() const noexcept override { return family_.components(); }
  Index columns() const noexcept override { return family_.columns(); }
  std::map<std::string, std::string> options() const override {
    auto options = family_.options();
    options.merge(latent_.options());
    for (const std::string& field : frozen_) {
      std::string& names = options["freeze"];
      names += (names.empty() ? "" : ",") + field;
    }
    return options;
  }
  std::map<std::string, std::string> options_from(const DataSummary& summary) const override {
    if constexpr (requires { family_.options_from(summary); }) return family_.options_from(summary);
    return {};
  }
  Domain domain() const noexcept override { return family_.domain(); }
  bool takes_missing() const noexcept override { return of_sequences; }
  std::optional<SequenceCut> sequence_cut() const override {
    if constexpr (of_sequences)
      return latent_.sequence_cut(family_.columns(), feature_width_);
    else
      return std::nullopt;
  }
  Scaling scaling() const noexcept override { return family_.scaling(); }
  void set_standardisation(Standardisation standardisation) override {
    standardisation_ = std::move(standardisation);
    family_.set_standardisation(standardisation_);
  }
  const Standardisation& standardisation() const noexcept override { return standardisation_; }
  std::function<double(const double*)> log_base_measure() const override { return family_.log_base_measure(); }

  const Layout& parameters() const noexcept override { return parameters_; }
  const Layout& statistics() const noexcept override { return statistics_; }
  std::vector<double> bounds(const DataSummary& summary) const override {
    std::vector<double> bounds = family_.bounds(summary);
    const std::vector<double> of_latent = latent_.bounds();
    bounds.insert(bounds.end(), of_latent.begin(), of_latent.end());
    return bounds;
  }
  void maximize(std::span<const double> statistics, double total_weight,
                std::span<double> parameters) const override {
    const std::vector<double> before(parameters.begin(), parameters.end());
    const Completed completed(*this, statistics, before);
    maximize_part(latent_, completed.statistics, total_weight, parameters, frozen_);
    maximize_part(family_, completed.statistics, total_weight, parameters, frozen_);
    for (const std::string& name : frozen_) {
      const auto kept = parameters_[name].in(std::span(before));
      std::copy(kept.begin(), kept.end(), parameters_[name].in(parameters).begin());
    }
  }
  void maximize_start(std::span<const double> statistics, double total_weight,
                      std::span<double> parameters) const override {
    const Completed completed(*this, statistics, {});
    maximize_part(latent_, completed.statistics, total_weight, parameters, {});
    maximize_part(family_, completed.statistics, total_weight, parameters, {});
  }
  std::vector<Degenerate> degenerate(std::span<const double> statistics, double total_weight,
                                     std::span<const double> parameters) const override {
    std::vector<Degenerate> found;
    if constexpr (of_mixture) {
      const MatrixView<const double> moments = statistics_["moments"].matrix(statistics);
      std::vector<Index> columns(static_cast<std::size_t>(components()), -1);
      if constexpr (requires { family_.collapsed_columns(statistics_, statistics, parameters_, parameters, frozen_); }) {
        const Completed completed(*this, statistics, parameters);
        columns = family_.collapsed_columns(statistics_, completed.statistics, parameters_, parameters, frozen_);
      }
      for (Index k = 0; k < components(); ++k) {
        const Index column = columns[static_cast<std::size_t>(k)];
        const bool empty = !(moments(k, 0) > empty_fraction * total_weight);
        if (empty && latent_.weight(parameters_, parameters, k) > 0) found.push_back({k, -1});
        if (!empty && column >= 0) found.push_back({k, column});
      }
    }
    return found;
  }
  std::string refuses(OnDegenerate policy) const override {
    if constexpr (of_mixture) {
      if (policy == OnDegenerate::floor || policy == OnDegenerate::error) return "";
      if (!frozen_.empty()) return "frozen parameters cannot change so";
      if (policy == OnDegenerate::prune && latent_.has_prior()) return "a prior gives weight to empty components";
      if (policy == OnDegenerate::reseed && !splits) return name_ + " has no direction to split a component along";
      return "";
    } else {
      return Model::refuses(policy);
    }
  }
  double leave_out(std::span<const Degenerate> degenerate, std::span<double> statistics) const override {
    double weight = 0;
    for (const Degenerate& each : degenerate) {
      weight += statistics_["moments"].matrix(statistics)(each.component, 0);
      for (const Field& field : statistics_.fields()) {
        if (field.shape.size() != 2 || field.shape.front() != components()) continue;
        double* const row = field.matrix(statistics).row(each.component);
        std::fill(row, row + field.shape.back(), 0.0);
      }
    }
    return weight;
  }
  void split_heaviest(std::span<const Degenerate> degenerate, std::span<double> parameters) const override {
    if constexpr (of_mixture && splits)
      for (const Degenerate& each : degenerate)
        family_.split(parameters_, parameters, latent_.halve_heaviest(parameters_, parameters, each.component),
                      each.component);
  }
  double weight_of(std::span<const double> statistics) const override {
    double weight = 0;
    if constexpr (of_mixture) {
      const MatrixView<const double> moments = statistics_["moments"].matrix(statistics);
      for (Index k = 0; k < moments.rows; ++k) weight += moments(k, 0);
    }
    return weight;
  }
  bool fits_stepwise() const noexcept override { return of_mixture; }
  bool has_row_per_component(const std::string& array) const override {
    if constexpr (requires { family_.is_common(array); }) return !family_.is_common(array);
    return true;
  }
  void set_defaults(std::span<double> parameters) const override {
    latent_.set_defaults(parameters_, parameters);
    family_.set_defaults(parameters_, parameters);
  }

  std::string objective_name() const override { return Latent::objective_name; }
  bool larger_is_better() const noexcept override { return Latent::larger_is_better; }
  double objective_in_user_units(double objective, double weight) const override {
    return family_.objective_in_user_units(objective, weight);
  }
  bool stops_at_fixed_point() const noexcept override { return !Latent::larger_is_better; }
  Index free_parameters() const noexcept override {
    return free_parameters_of(family_) + free_parameters_of(latent_);
  }
  Index kept_zeros(std::span<const double> start) const override {
    if constexpr (requires { latent_.kept_zeros(parameters_, start, frozen_); })
      return latent_.kept_zeros(parameters_, start, frozen_);
    return 0;
  }
  std::vector<std::string> warnings(const DataSummary& summary) const override { return family_.warnings(summary); }

  NamedArrays describe(std::span<const double> parameters) const override {
    NamedArrays arrays;
    latent_.describe(parameters_, parameters, arrays);
    family_.describe(parameters_, parameters, arrays);
    return arrays;
  }
  void read(const NamedArrays& arrays, std::span<double> parameters) const override {
    for (const auto& [name, array] : arrays)
      if (!is_parameter(name))
        throw DataError("start parameter '" + name + "' is not one of " + name_ + ": " + parameter_names());
    latent_.read(parameters_, arrays, parameters);
    family_.read(parameters_, arrays, parameters);
  }
  void start_at(MatrixView<const double> rows, const DataSummary& summary,
                std::span<double> parameters) const override {
    latent_.set_defaults(parameters_, parameters);
    family_.start_at(parameters_, rows, summary, parameters);
  }
  void soften_start(const DataSummary& summary, std::span<double> parameters) const override {
    if constexpr (requires { family_.soften_start(parameters_, summary, parameters); })
      family_.soften_start(parameters_, summary, parameters);
  }
  void vary_start(const std::function<double(Index)>& draw, std::span<double> parameters) const override {
    if constexpr (requires { latent_.vary_start(parameters_, draw, parameters, frozen_); })
      latent_.vary_start(parameters_, draw, parameters, frozen_);
  }
  Moments moments(std::span<const double> parameters) const override {
    return family_.moments(parameters_, parameters);
  }
  Sampler sampler(std::span<const double> parameters) const override {
    return [component = latent_.sampler(parameters_, parameters),
            value = family_.sampler(parameters_, parameters),
            mixtures = family_.components() / latent_.components()](RandomKey key, Index row, double* out) {
      const Index k = component(key, row);
      value(k, key, row, out);
      return k / mixtures;
    };
  }
  std::unique_ptr<SequenceSampler> sequence_sampler(std::span<const double> parameters) const override {
    if constexpr (requires { latent_.state_sampler(parameters_, parameters); })
      return std::make_unique<PairSequenceSampler<decltype(latent_.state_sampler(parameters_, parameters)),
                                                  decltype(family_.sampler(parameters_, parameters))>>(
          latent_.state_sampler(parameters_, parameters), family_.sampler(parameters_, parameters));
    else
      return nullptr;
  }

  std::unique_ptr<BoundModel> bind(const BindOptions& options) const override {
    const Index of_family = family_.coefficient_count();
    Coefficients coefficients{
        of_family + latent_.coefficient_count(),
        [this, of_family](std::span<const double> parameters, std::span<double> out) {
          const auto first = out.first(static_cast<std::size_t>(of_family));
          family_.coefficients(parameters_, parameters, first);
          latent_.add_to_coefficients(parameters_, parameters, family_.coefficient_stride(), first,
                                      out.subspan(first.size()));
        }};
    if constexpr (has_form_about_means)
      if (has_kernel_about_means_)
        coefficients.compute_either = [this, of_family](std::span<const double> parameters, std::span<double> out, double farthest) {
          const auto first = out.first(static_cast<std::size_t>(of_family));
          std::vector<Index> about_means = family_.either_coefficients(parameters_, parameters, first, farthest);
          latent_.add_to_coefficients(parameters_, parameters, family_.coefficient_stride(), first, out.subspan(first.size()));
          return about_means;
        };
    BindOptions settled = options;
    if (!rounds_products && options.precision == Precision::tf32) settled.precision = Precision::single_precision;
    return bind_(coefficients, statistics_, family_.components(), settled);
  }

 private:
  static constexpr bool rounds_products = !requires { requires !Family::rounds_products; };
  static constexpr bool has_form_about_means = requires(const Family& family, const Layout& layout, std::span<double> out) {
    family.either_coefficients(layout, std::span<const double>(), out, 0.0);
  };
  static constexpr bool of_mixture = requires { Latent::has_weights; };
  static constexpr bool splits = requires(const Family& family, const Layout& layout, std::span<double> parameters) {
    family.split(layout, parameters, Index{}, Index{});
  };
  static constexpr bool of_sequences = requires(const Latent& latent) { latent.sequence_cut(Index{}, Index{}); };

  // Statistics as the M-step takes them: where values are missing the family makes them what they are expected to be, given
  // these parameters; none at a start.
  struct Completed {
    std::vector<double> own;
    std::span<const double> statistics;

    Completed(const PairModel& model, std::span<const double> given, std::span<const double> parameters) : statistics(given) {
      if constexpr (requires { model.family_.completes(true); }) {
        if (!model.family_.completes(parameters.empty())) return;
        own.assign(given.begin(), given.end());
        model.family_.complete(model.statistics_, own, model.parameters_, parameters);
        statistics = own;
      }
    }
    Completed(const Completed&) = delete;
  };

  template <class Part>
  void maximize_part(const Part& part, std::span<const double> statistics, double total_weight,
                     std::span<double> parameters, const std::set<std::string>& frozen) const {
    if constexpr (requires { part.maximize(statistics_, statistics, total_weight, parameters_, parameters, frozen); })
      part.maximize(statistics_, statistics, total_weight, parameters_, parameters, frozen);
    else
      part.maximize(statistics_, statistics, total_weight, parameters_, parameters);
  }
  template <class Part>
  Index free_parameters_of(const Part& part) const {
    if constexpr (requires { part.free_parameters(frozen_); }) {
      return part.free_parameters(frozen_);
    } else {
      Layout own;
      part.add_parameters(own);
      return !own.fields().empty() && frozen_.contains(own.fields().front().name) ? 0 : part.free_parameters();
    }
  }

  bool is_parameter(const std::string& name) const {
    for (const Field& field : parameters_.fields())
      if (field.name == name) return true;
    return false;
  }
  std::string parameter_names() const {
    std::string names;
    for (const Field& field : parameters_.fields()) names += (names.empty() ? "" : ", ") + field.name;
    return names;
  }

  std::string name_;
  Latent latent_;
  Family family_;
  Index feature_width_;
  bool has_kernel_about_means_;
  BindKernel bind_;
  Standardisation standardisation_;
  Layout parameters_, statistics_;
  std::set<std::string> frozen_;
};

}  // namespace tally
