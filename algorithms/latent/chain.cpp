#include "algorithms/latent/chain.hpp"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <memory>
#include <numeric>
#include <string_view>

#include "algorithms/latent/stationary.hpp"
#include "core/backends/chain.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

constexpr std::string_view band_word = "banded:", mask_word = "mask:";

Index checked_states(Index states) {
  if (states > cpu::most_states)
    throw UsageError("a chain has at most " + std::to_string(cpu::most_states) + " states, not " + std::to_string(states));
  return states;
}

// Which transitions a topology allows (K, K).
std::vector<char> parse_topology(const std::string& word, Index K) {
  std::vector<char> allowed(static_cast<std::size_t>(K * K), 1);
  const auto keep = [&](auto&& condition) {
    for (Index i = 0; i < K; ++i)
      for (Index j = 0; j < K; ++j) allowed[static_cast<std::size_t>(i * K + j)] = condition(i, j);
  };
  if (word == "ergodic") return allowed;
  if (word == "left-right") {
    keep([](Index i, Index j) { return j >= i; });
    return allowed;
  }
  if (word.starts_with(band_word)) {
    Index width = -1;
    const char* const last = word.data() + word.size();
    const auto [end, failure] = std::from_chars(word.data() + band_word.size(), last, width);
    if (failure != std::errc() || end != last || width < 0)
      throw UsageError("topology " + word + ": a whole number from 0 on belongs behind 'banded:'");
    keep([width](Index i, Index j) { return i - j <= width && j - i <= width; });
    return allowed;
  }
  if (!word.starts_with(mask_word))
    throw UsageError("topology " + word + " is unknown: ergodic, left-right, banded:WIDTH and a mask are there");
  const std::string_view rows = std::string_view(word).substr(mask_word.size());
  const auto refuse = [K] {
    throw UsageError("the mask of the topology must have " + std::to_string(K) + " rows of as many 0s and 1s");
  };
  if (static_cast<Index>(rows.size()) != K * (K + 1) - 1) refuse();
  for (Index n = 0; n < static_cast<Index>(rows.size()); ++n) {
    const char c = rows[static_cast<std::size_t>(n)];
    const Index i = n / (K + 1), j = n % (K + 1);
    if (j == K ? c != ',' : c != '0' && c != '1') refuse();
    if (j < K) allowed[static_cast<std::size_t>(i * K + j)] = c == '1';
  }
  for (Index i = 0; i < K; ++i) {
    const auto row = allowed.begin() + i * K;
    if (std::find(row, row + K, 1) == row + K)
      throw UsageError("the mask of the topology leaves no way out of state " + std::to_string(i) +
                       " (counted from 0); allow at least the way to itself");
  }
  return allowed;
}

std::string text_of(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) {
    char digits[32];  // the shortest that reads back as the same number
    const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    text += (text.empty() ? "" : ",") + std::string(digits, end);
  }
  return text;
}

void check_concentrations(const std::string& name, const std::vector<double>& values, Index all) {
  if (values.size() != 1 && static_cast<Index>(values.size()) != all)
    throw UsageError(name + " needs one concentration, or " + std::to_string(all) + "; there are " +
                     std::to_string(values.size()));
  for (const double value : values)
    if (!(value > 0) || !std::isfinite(value)) throw UsageError(name + " must be above 0");
}

// Makes a row of what was counted; the row stays where nothing was.
void normalise(std::span<const double> counts, std::span<double> row) {
  const double sum = std::accumulate(counts.begin(), counts.end(), 0.0);
  if (!(sum > 0)) return;
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = counts[i] / sum;
}

// The array of this name where there is one, of the right shape and its rows distributions.
const Array* find_distributions(const NamedArrays& arrays, const Field& field) {
  const auto found = arrays.find(field.name);
  if (found == arrays.end()) return nullptr;
  const Array& array = found->second;
  const std::string named = "start parameter '" + field.name + "'";
  if (array.shape != field.shape) {
    std::string wanted;
    for (const Index extent : field.shape) wanted += (wanted.empty() ? "" : ", ") + std::to_string(extent);
    throw DataError(named + " has the wrong shape: (" + wanted + ") is needed");
  }
  const Index width = field.shape.back();
  for (Index i = 0; i < field.size / width; ++i) {
    const std::string row = field.shape.size() == 1 ? named : "row " + std::to_string(i) + " of " + named;
    double sum = 0;
    for (Index j = 0; j < width; ++j) {
      const double value = array.values[static_cast<std::size_t>(i * width + j)];
      if (!(value >= 0)) throw DataError(row + " has a value below 0 or none");
      sum += value;
    }
    if (!(std::abs(sum - 1) < 1e-6)) throw DataError(row + " sums to " + std::to_string(sum) + ", not to 1");
  }
  return &array;
}

// Sums along each row of (rows, width), by which `drawn` finds an entry.
std::vector<double> cumulative(std::span<const double> values, Index width) {
  std::vector<double> sums(values.begin(), values.end());
  for (auto row = sums.begin(); row != sums.end(); row += width) std::partial_sum(row, row + width, row);
  return sums;
}

// The entry that a uniform number finds; none of probability 0.
Index drawn(const double* sums, Index width, double u) {
  auto found = std::upper_bound(sums, sums + width, u * sums[width - 1]) - sums;
  if (found == width) found = std::lower_bound(sums, sums + width, sums[width - 1]) - sums;
  return found;
}

}  // namespace

StartProbabilities parse_startprob(const std::string& word) {
  for (const auto s : {StartProbabilities::free, StartProbabilities::stationary, StartProbabilities::fixed})
    if (word == to_string(s)) return s;
  throw UsageError("--startprob " + word + " is unknown: free, stationary and fixed are there");
}

const char* to_string(StartProbabilities startprob) {
  switch (startprob) {
    case StartProbabilities::free: return "free";
    case StartProbabilities::stationary: return "stationary";
    case StartProbabilities::fixed: return "fixed";
  }
  return "";
}

std::string topology_of(const Array& mask) {
  if (mask.shape.size() != 2 || mask.shape[0] != mask.shape[1])
    throw DataError("the mask of a topology must be a square matrix of 0s and 1s");
  std::string text(mask_word);
  for (std::size_t n = 0; n < mask.values.size(); ++n) {
    if (mask.values[n] != 0 && mask.values[n] != 1)
      throw DataError("the mask of a topology has a value that is neither 0 nor 1");
    if (n > 0 && n % static_cast<std::size_t>(mask.shape[1]) == 0) text += ',';
    text += mask.values[n] == 1 ? '1' : '0';
  }
  return text;
}

Chain::Chain(ChainOptions options, Index states)
    : options_(std::move(options)),
      states_(checked_states(states)),
      mixtures_(options_.mixtures),
      allowed_(parse_topology(options_.topology, states)) {
  check_concentrations("--startprob-prior", options_.startprob_prior, states);
  check_concentrations("--transmat-prior", options_.transmat_prior, states * states);
  const bool with_prior = std::any_of(options_.startprob_prior.begin(), options_.startprob_prior.end(),
                                      [](double concentration) { return concentration != 1; });
  if (with_prior && options_.startprob != StartProbabilities::free)
    throw UsageError(std::string("--startprob-prior is for --startprob free, not ") + to_string(options_.startprob));
  if (options_.startprob != StartProbabilities::stationary) return;
  if (begins_at_0())
    throw UsageError("--startprob stationary contradicts --topology left-right, where sequences begin in state 0");
  const std::vector<double> ways(allowed_.begin(), allowed_.end());
  stationary_distribution(MatrixView<const double>(ways.data(), states, states));
}

// Short sequences fill blocks that stay in a processor's cache, but are long enough that adding a block's statistics
// costs little. A piece is long enough that its message, a matrix where pieces are composed, is small beside its rows.
SequenceCut Chain::sequence_cut(Index columns, Index feature_width) const {
  const Index K = states_;
  const auto at_most = [](Index values, Index width) {
    return static_cast<Index>(std::bit_floor(static_cast<std::uint64_t>(std::max<Index>(values / width, 1))));
  };
  const Index width = std::max(K, columns);
  SequenceCut cut;
  cut.block_rows = std::clamp<Index>(at_most(Index{1} << 15, width), 1024, 8192);
  if (K <= most_composed_states)
    cut.piece_steps = std::clamp<Index>(at_most(Index{1} << 19, width), 1024, std::max<Index>(1024, 16 * K * K));
  else
    cut.piece_steps = std::clamp<Index>(at_most(Index{1} << 19, width), 1024, 16384);
  // Transitions that no first-level cache holds are read once for several sequences of a block.
  constexpr Index most_cached_states = 64;
  if (K > most_cached_states) cut.block_rows = std::max(cut.block_rows, std::min<Index>(4096, cut.piece_steps));
  // In multiply-adds of a row, as measured (docs/performance.md): emissions, and as much for their statistics, where a row and
  // a state cost 16 products each beside their own; forward, backward and transitions. Composing has the emissions once more,
  // and products of matrices, but for the first piece of a sequence; handing messages on in order has the emissions twice more.
  constexpr Index overhead = 16, composing = 10, unit = 32;
  const Index emission = (feature_width + overhead) * (K * mixtures_ + overhead);
  const Index whole = 2 * emission + 3 * K * K;
  // There and back the pieces of a cut sequence walk alone, where others of a block walk together; beyond the cache they read the
  // transitions at every step. So do whole ones that fill a block, hence less than what sequences of one length show.
  constexpr Index most_measured_states = 128;
  const Index walks_tenths = K <= most_cached_states     ? 25
                             : K <= most_measured_states ? 25 + 29 * (K - most_cached_states) / 64
                                                         : 30;
  const Index in_order = 2 * emission + K * K * walks_tenths / 10;
  const Index more = K <= most_composed_states ? emission + composing * K * K : in_order;
  cut.whole_work = unit;
  cut.cut_work = unit + unit * more / whole;
  return cut;
}

std::map<std::string, std::string> Chain::options() const {
  std::map<std::string, std::string> options = {{"startprob", to_string(options_.startprob)},
          {"topology", options_.topology},
          {"startprob_prior", text_of(options_.startprob_prior)},
          {"transmat_prior", text_of(options_.transmat_prior)},
          {"mixtures", std::to_string(mixtures_)}};
  if (!options_.emission.empty()) options["emission"] = options_.emission;
  if (options_.count_transitions) options["count_transitions"] = "true";
  return options;
}

void Chain::add_parameters(Layout& layout) const {
  layout.add("startprob", {states_}).add("transmat", {states_, states_});
  if (mixtures_ > 1) layout.add("mixture_weights", {states_, mixtures_});
}

void Chain::add_statistics(Layout& layout) const {
  layout.add("starts", {states_}).add("transitions", {states_, states_});
}

void Chain::set_defaults(const Layout& layout, std::span<double> parameters) const {
  const auto K = static_cast<double>(states_);
  const auto start = layout["startprob"].in(parameters);
  for (std::size_t i = 0; i < start.size(); ++i) start[i] = begins_at_0() ? (i == 0 ? 1 : 0) : 1 / K;
  const MatrixView<double> transitions = layout["transmat"].matrix(parameters);
  for (Index i = 0; i < states_; ++i) {
    const auto row = allowed_.begin() + i * states_;
    const auto ways = static_cast<double>(std::count(row, row + states_, 1));
    for (Index j = 0; j < states_; ++j) transitions(i, j) = allowed(i, j) ? 1 / ways : 0;
  }
  if (mixtures_ > 1) {
    const auto weights = layout["mixture_weights"].in(parameters);
    std::fill(weights.begin(), weights.end(), 1 / static_cast<double>(mixtures_));
  }
  follow_transitions(layout, parameters);
}

void Chain::vary_start(const Layout& layout, const std::function<double(Index)>& draw, std::span<double> parameters,
                       const std::set<std::string>& frozen) const {
  if (frozen.contains("transmat")) return;
  const auto transmat = layout["transmat"].in(parameters);
  std::vector<double> drawn(transmat.begin(), transmat.end());
  for (std::size_t n = 0; n < drawn.size(); ++n) drawn[n] *= 0.5 + draw(static_cast<Index>(n));
  const auto K = static_cast<std::size_t>(states_);
  for (std::size_t i = 0; i < K; ++i) normalise(std::span(drawn).subspan(i * K, K), transmat.subspan(i * K, K));
  follow_transitions(layout, parameters);
}

void Chain::follow_transitions(const Layout& layout, std::span<double> parameters) const {
  if (options_.startprob != StartProbabilities::stationary) return;
  const auto start = stationary_distribution(layout["transmat"].matrix(std::span<const double>(parameters)));
  std::copy(start.begin(), start.end(), layout["startprob"].in(parameters).begin());
}

void Chain::maximize(const Layout& statistics_layout, std::span<const double> statistics, double,
                     const Layout& layout, std::span<double> parameters, const std::set<std::string>& frozen) const {
  const Index K = states_, M = mixtures_;
  const auto starts = statistics_layout["starts"].in(statistics);
  const auto transitions = statistics_layout["transitions"].in(statistics);
  const auto startprob = layout["startprob"].in(parameters), transmat = layout["transmat"].in(parameters);
  const auto with_prior = [this](std::span<const double> counts, const std::vector<double>& concentrations,
                                 std::span<const double> now) {
    std::vector<double> sums(counts.size());
    for (std::size_t i = 0; i < counts.size(); ++i)
      sums[i] = now[i] > 0 ? std::max(0.0, counts[i] + prior(concentrations, i)) : 0;
    return sums;
  };
  if (options_.startprob == StartProbabilities::free)
    normalise(with_prior(starts, options_.startprob_prior, startprob), startprob);
  if (!frozen.contains("transmat")) {
    const std::vector<double> counts = with_prior(transitions, options_.transmat_prior, transmat);
    const MatrixView<const double> rows(counts.data(), K, K);
    if (options_.startprob == StartProbabilities::stationary)
      maximize_stationary(starts, rows, layout["transmat"].matrix(parameters));
    else
      for (Index i = 0; i < K; ++i)
        normalise({rows.row(i), static_cast<std::size_t>(K)},
                  transmat.subspan(static_cast<std::size_t>(i * K), static_cast<std::size_t>(K)));
  }
  follow_transitions(layout, parameters);
  if (M == 1) return;
  const MatrixView<const double> moments = statistics_layout["moments"].matrix(statistics);
  const auto weights = layout["mixture_weights"].in(parameters);
  std::vector<double> counts(static_cast<std::size_t>(M));
  for (Index k = 0; k < K; ++k) {
    for (Index m = 0; m < M; ++m) counts[static_cast<std::size_t>(m)] = moments(k * M + m, 0);
    normalise(counts, weights.subspan(static_cast<std::size_t>(k * M), static_cast<std::size_t>(M)));
  }
}

void Chain::check_frozen(const std::set<std::string>& frozen) const {
  if (options_.startprob != StartProbabilities::stationary || frozen.contains("transmat")) return;
  if (frozen.contains("startprob"))
    throw UsageError("--freeze startprob contradicts --startprob stationary, by which it follows transmat; freeze "
                     "both, or use --startprob fixed");
}

Index Chain::free_parameters(const std::set<std::string>& frozen) const {
  Index count = 0;
  if (start_is_free(frozen)) count += states_ - 1;
  if (!frozen.contains("transmat")) count += std::count(allowed_.begin(), allowed_.end(), 1) - states_;
  if (!frozen.contains("mixture_weights")) count += states_ * (mixtures_ - 1);
  return count;
}

Index Chain::kept_zeros(const Layout& layout, std::span<const double> start, const std::set<std::string>& frozen) const {
  Index count = 0;
  if (start_is_free(frozen)) count += std::ranges::count(layout["startprob"].in(start), 0.0);
  if (frozen.contains("transmat")) return count;
  const MatrixView<const double> transitions = layout["transmat"].matrix(start);
  for (Index i = 0; i < states_; ++i)
    for (Index j = 0; j < states_; ++j) count += allowed(i, j) && transitions(i, j) == 0;
  return count;
}

void Chain::add_to_coefficients(const Layout& layout, std::span<const double> parameters, Index stride,
                                std::span<double> of_family, std::span<double> own) const {
  const ChainCoefficients place{states_};
  const auto start = layout["startprob"].in(parameters), transitions = layout["transmat"].in(parameters);
  std::copy(start.begin(), start.end(), own.begin() + place.start());
  std::copy(transitions.begin(), transitions.end(), own.begin() + place.transitions());
  for (Index i = 0; i < states_; ++i)
    for (Index j = 0; j < states_; ++j)
      own[static_cast<std::size_t>(place.transposed() + j * states_ + i)] =
          transitions[static_cast<std::size_t>(i * states_ + j)];
  if (mixtures_ == 1) return;
  const auto weights = layout["mixture_weights"].in(parameters);
  for (std::size_t i = 0; i < weights.size(); ++i)
    of_family[i * static_cast<std::size_t>(stride)] += std::log(weights[i]);
}

void Chain::describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const {
  for (const char* name : {"startprob", "transmat", "mixture_weights"}) {
    if (mixtures_ == 1 && std::string_view(name) == "mixture_weights") continue;
    const auto values = layout[name].in(parameters);
    arrays[name] = {layout[name].shape, {values.begin(), values.end()}};
  }
}

void Chain::read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const {
  const auto take = [&](const Array* array, const char* name) {
    if (array) std::copy(array->values.begin(), array->values.end(), layout[name].in(parameters).begin());
  };
  const Array* const start = find_distributions(arrays, layout["startprob"]);
  if (start && begins_at_0() && start->values.front() != 1)
    throw DataError("start parameter 'startprob' begins elsewhere than in state 0; the topology left-right does not");
  const Array* const transitions = find_distributions(arrays, layout["transmat"]);
  for (Index n = 0; transitions && n < states_ * states_; ++n)
    if (transitions->values[static_cast<std::size_t>(n)] != 0 && !allowed(n / states_, n % states_))
      throw DataError("start parameter 'transmat' goes from state " + std::to_string(n / states_) + " to " +
                      std::to_string(n % states_) + " (counted from 0), which the topology does not allow");
  take(start, "startprob");
  take(transitions, "transmat");
  if (mixtures_ > 1) take(find_distributions(arrays, layout["mixture_weights"]), "mixture_weights");
  follow_transitions(layout, parameters);
}

Chain::StateSampler::StateSampler(const Chain& chain, const Layout& layout, std::span<const double> parameters)
    : states_(chain.states_),
      mixtures_(chain.mixtures_),
      start_(cumulative(layout["startprob"].in(parameters), chain.states_)),
      transitions_(cumulative(layout["transmat"].in(parameters), chain.states_)) {
  if (mixtures_ > 1) mixture_weights_ = cumulative(layout["mixture_weights"].in(parameters), mixtures_);
}

Index Chain::StateSampler::state(RandomKey key, Index row, std::optional<Index> previous) const {
  const double* const sums = previous ? transitions_.data() + *previous * states_ : start_.data();
  return drawn(sums, states_, uniform(key, static_cast<std::uint64_t>(row), 0));
}

// By the second word of the row's random bits; the first draws the state.
Index Chain::StateSampler::component(RandomKey key, Index row, Index state) const {
  if (mixtures_ == 1) return state;
  const double u = open_unit_interval(random_bits(key, static_cast<std::uint64_t>(row), 0).second);
  return state * mixtures_ + drawn(mixture_weights_.data() + state * mixtures_, mixtures_, u);
}

Chain::DrawComponent Chain::sampler(const Layout& layout, std::span<const double> parameters) const {
  return [states = std::make_shared<StateSampler>(*this, layout, parameters)](RandomKey key, Index row) {
    return states->component(key, row, states->state(key, row, std::nullopt));
  };
}

void forecast_states(MatrixView<const double> transitions, std::span<const double> now, MatrixView<double> out) {
  const double* from = now.data();
  for (Index h = 0; h < out.rows; ++h) {
    double* const to = out.row(h);
    std::fill_n(to, out.cols, 0.0);
    for (Index i = 0; i < transitions.rows; ++i)
      for (Index j = 0; j < out.cols; ++j) to[j] += from[i] * transitions(i, j);
    from = to;
  }
}

}  // namespace tally
