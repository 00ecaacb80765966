#include "algorithms/em_scan.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "comm/agreement.hpp"
#include "core/error.hpp"
#include "core/full_range_sum.hpp"
#include "core/hash.hpp"
#include "core/philox.hpp"
#include "core/random_streams.hpp"

namespace tally {
namespace {

// What is wrong with a row: a fault of a value, or its weight.
constexpr Index bad_weight = value_faults, fault_count = bad_weight + 1;

constexpr std::int64_t no_fault = std::numeric_limits<std::int64_t>::max();

// Doubles as integers in the same order.
std::int64_t ordered(double value) {
  const auto bits = std::bit_cast<std::int64_t>(value);
  return bits >= 0 ? bits : bits ^ std::numeric_limits<std::int64_t>::max();
}

double from_ordered(std::int64_t bits) {
  return std::bit_cast<double>(bits >= 0 ? bits : bits ^ std::numeric_limits<std::int64_t>::max());
}

// What one lane has seen.
struct Seen {
  std::vector<FullRangeSum> sums;         // D columns, then the weight; where values may be missing, of each column's, too
  std::vector<double> minimum, maximum;   // (D)
  double largest_weight = 0;
  std::int64_t first_fault = no_fault;    // (row (D + 1) + column) fault_count + kind
  Index rows = 0;
  std::uint64_t content = 0;

  Seen(Index D, Index sum_count)
      : sums(static_cast<std::size_t>(sum_count)),
        minimum(static_cast<std::size_t>(D), std::numeric_limits<double>::infinity()),
        maximum(static_cast<std::size_t>(D), -std::numeric_limits<double>::infinity()) {}

  void report(Index row, Index column, Index D, Index fault) {
    first_fault = std::min(first_fault, (row * (D + 1) + column) * fault_count + fault);
  }
};

// The first fault of a block's rows, as the lane would meet them one by one.
void look_for_faults(const StoredBlock& block, Index D, Domain domain, Seen& seen) {
  for (Index i = 0; i < block.rows; ++i) {
    const double* x = block.raw + i * D;
    const Index row = block.first_row + i;
    const bool missing = block.missing && block.missing[i];
    for (Index d = 0; d < D && !missing; ++d) {
      const ValueFault fault = domain.fault_of(x[d]);
      if (fault != ValueFault::none) return seen.report(row, d, D, static_cast<Index>(fault));
    }
    if (!missing && !domain.takes_length(x, D)) return seen.report(row, D, D, static_cast<Index>(ValueFault::length));
    if (block.weights && !(block.weights[i] >= 0 && std::isfinite(block.weights[i])))
      return seen.report(row, D, D, bad_weight);
  }
}

// Calls visit for pieces of a block that are as long as a CPU's, so that the sums have the same bits whatever computes.
template <class Visit>
void for_each_piece(const StoredBlock& block, Index D, const Visit& visit) {
  const Index length = block_rows_for(D);
  for (Index first = 0; first < block.rows; first += length) {
    StoredBlock piece = block;
    piece.first_row += first;
    piece.rows = std::min(length, block.rows - first);
    piece.raw += first * D;
    if (piece.weights) piece.weights += first;
    if (piece.missing) piece.missing += first;
    visit(static_cast<const StoredBlock&>(piece));
  }
}

// Adds the rows' values; tells whether some may be none of the domain's.
bool add_rows(const StoredBlock& block, Index D, Domain domain, std::vector<double>& sums, Seen& seen) {
  bool suspicious = false;
  for (Index i = 0; i < block.rows; ++i) {
    const double* x = block.raw + i * D;  // zeros where the row is missing
    const double weight = block.weights ? block.weights[i] : 1;
    suspicious |= !(weight >= 0 && weight <= std::numeric_limits<double>::max());
    double finite = 0;  // stays 0 where every value is finite
    for (Index d = 0; d < D; ++d) finite += x[d] * 0;
    suspicious |= finite != 0 || finite != finite;
    const bool missing = block.missing && block.missing[i];
    if (domain.whole)
      for (Index d = 0; d < D; ++d) suspicious |= x[d] < 0 || x[d] > domain.largest || x[d] != std::floor(x[d]);
    else if (!domain.takes_any() && !missing) {
      for (Index d = 0; d < D; ++d) suspicious |= !domain.takes(x[d]);
      suspicious |= !domain.takes_length(x, D);
    }
    seen.largest_weight = std::max(seen.largest_weight, weight);
    if (weight == 0 || missing) continue;
    for (Index d = 0; d < D; ++d) {
      const auto c = static_cast<std::size_t>(d);
      sums[c] += weight * x[d];
      seen.minimum[c] = std::min(seen.minimum[c], x[d]);
      seen.maximum[c] = std::max(seen.maximum[c], x[d]);
    }
    sums[static_cast<std::size_t>(D)] += weight;
  }
  return suspicious;
}

// The same where values may be missing.
bool add_observed(const StoredBlock& block, Index D, Domain domain, std::vector<double>& sums, Seen& seen) {
  bool suspicious = false;
  for (Index i = 0; i < block.rows; ++i) {
    const double* x = block.raw + i * D;
    const double weight = block.weights ? block.weights[i] : 1;
    const bool missing_row = block.missing && block.missing[i];
    suspicious |= !(weight >= 0 && weight <= std::numeric_limits<double>::max());
    for (Index d = 0; d < D && !missing_row; ++d) suspicious |= domain.fault_of(x[d]) != ValueFault::none;
    seen.largest_weight = std::max(seen.largest_weight, weight);
    if (weight == 0 || missing_row) continue;
    for (Index d = 0; d < D; ++d) {
      const auto c = static_cast<std::size_t>(d);
      if (std::isnan(x[d])) continue;
      sums[c] += weight * x[d];
      sums[c + static_cast<std::size_t>(D + 1)] += weight;
      seen.minimum[c] = std::min(seen.minimum[c], x[d]);
      seen.maximum[c] = std::max(seen.maximum[c], x[d]);
    }
    sums[static_cast<std::size_t>(D)] += weight;
  }
  return suspicious;
}

void look_at(const StoredBlock& block, Index D, Domain domain, std::vector<double>& sums, Seen& seen) {
  sums.assign(seen.sums.size(), 0.0);
  const bool suspicious = domain.takes_nan() ? add_observed(block, D, domain, sums, seen)
                                             : add_rows(block, D, domain, sums, seen);
  seen.rows += block.rows;
  if (suspicious) return look_for_faults(block, D, domain, seen);
  for (std::size_t c = 0; c < sums.size(); ++c)
    if (!seen.sums[c].add(sums[c]))
      throw DataError(c < static_cast<std::size_t>(D) ? "the sum of column " + std::to_string(c) + " overflows: scale the data down"
                                                      : "the sum of the weights overflows: scale them down");
}

// A sum, so that it does not matter who holds which row; the numbers of the rows in it see to their order.
std::uint64_t hash_of_rows(const StoredBlock& block, Index D, Index given_columns) {
  std::uint64_t sum = 0;
  for (Index i = 0; i < block.rows; ++i) {
    Hasher hasher;
    hasher.add(block.first_row + i);
    hasher.add(std::span(block.raw + i * D, static_cast<std::size_t>(D)));
    if (block.weights) hasher.add(block.weights[i]);
    if (block.given) hasher.add(std::span(block.given + i * given_columns, static_cast<std::size_t>(given_columns)));
    if (block.missing && block.missing[i]) hasher.add(std::string_view("missing"));
    sum += hasher.value();
  }
  return sum;
}

[[noreturn]] void throw_fault(std::int64_t code, Domain domain, const Shard& shard) {
  const Inputs& inputs = shard.inputs();
  const Index D = shard.columns(), place = code / fault_count, row = place / (D + 1), column = place % (D + 1);
  if (code % fault_count == bad_weight)
    throw DataError("the weight in " + inputs.weights->where(row) +
                    " is negative or not finite (rows are counted from 0)");
  const auto fault = static_cast<ValueFault>(code % fault_count);
  const bool partly_missing = fault == ValueFault::not_a_number && shard.takes_missing();
  throw DataError(domain.message(inputs.rows->where(row), column, fault) +
                  (partly_missing ? "; " + std::string(missing_row_words) : ""));
}

std::vector<Index> choose_rows(Index rows, Index wanted, std::uint64_t seed) {
  std::vector<Index> chosen;
  for (Index i = 0; i < std::min(rows, wanted); ++i)
    chosen.push_back(rows <= wanted
                         ? i
                         : static_cast<Index>(below({seed, static_cast<std::uint32_t>(RandomStream::sample_rows)},
                                                    static_cast<std::uint64_t>(i), 0,
                                                    static_cast<std::uint64_t>(rows))));
  std::sort(chosen.begin(), chosen.end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  return chosen;
}

// Of the values that are there.
void describe_sample(const Sample& sample, DataSummary& summary) {
  const std::vector<double>& values = sample.as_observed();
  const auto D = static_cast<std::size_t>(summary.columns);
  summary.variance.assign(D, 0.0);
  std::vector<double> weight(D, 0.0), mean(D, 0.0);
  std::vector<Index> count(D, 0);
  const auto for_each_value = [&](const auto& visit) {
    for (std::size_t i = 0; i < sample.weights.size(); ++i)
      for (std::size_t d = 0; d < D && sample.weights[i] > 0; ++d)
        if (const double value = values[i * D + d]; !std::isnan(value)) visit(d, sample.weights[i], value);
  };
  for_each_value([&](std::size_t d, double of_row, double) {
    weight[d] += of_row;
    ++count[d];
  });
  for_each_value([&](std::size_t d, double of_row, double value) { mean[d] += of_row / weight[d] * value; });
  for_each_value([&](std::size_t d, double of_row, double value) {
    const double difference = value - mean[d];
    summary.variance[d] += of_row / weight[d] * difference * difference;
  });
  // Too few of a column may be in the sample: then that of a uniform distribution between the extremes.
  for (std::size_t d = 0; d < D && !sample.observed.empty(); ++d)
    if (const double range = summary.maximum[d] - summary.minimum[d]; count[d] < 2) summary.variance[d] = range * range / 12;
}

// Rows without any value say nothing to a start.
void leave_out_empty(Sample& sample, Index D) {
  for (Index i = 0; i < sample.size(); ++i) {
    const auto row = sample.values.begin() + i * D;
    if (std::all_of(row, row + D, [](double value) { return std::isnan(value); })) sample.weights[static_cast<std::size_t>(i)] = 0;
  }
}

bool any_missing(const std::vector<double>& values) {
  return std::any_of(values.begin(), values.end(), [](double value) { return std::isnan(value); });
}

// Puts the column's mean in the place of missing values.
void fill_missing(std::vector<double>& values, const std::vector<double>& mean) {
  for (std::size_t i = 0; i < values.size(); ++i)
    if (std::isnan(values[i])) values[i] = mean[i % mean.size()];
}

}  // namespace

Index sample_size(Index rows, Index columns, Index components) {
  constexpr Index usual_rows = 20000, rows_per_component = 32, most_values = Index{1} << 23;
  const Index wanted = std::max(usual_rows, rows_per_component * components);
  const Index affordable = std::max(most_values / std::max<Index>(columns, 1), 4 * components);
  return std::min({rows, wanted, affordable});
}

Scan scan(Shard& shard, Domain domain, Index sample_rows, std::uint64_t seed, Communicator& communicator,
          Index known_components) {
  const Index D = shard.columns(), width = D + 1, sum_count = domain.takes_nan() ? width + D : width;
  const std::vector<Index> chosen = choose_rows(shard.total_rows(), sample_rows, seed);
  const auto sampled = static_cast<Index>(chosen.size());

  // Summed: failures, rows, halves of the content's hash, limbs of the columns' sums and of the weights, the sample's bits (each
  // from one rank).
  const Index limbs_at = 4, sample_at = limbs_at + sum_count * FullRangeSum::limb_count;
  std::vector<std::int64_t> sums(static_cast<std::size_t>(sample_at + sampled * width), 0);
  // Maximised: columns' maxima, minus their minima, the largest weight, minus the first fault, the keys of known rows.
  const Index weight_at = 2 * D, fault_at = weight_at + 1, keys_at = fault_at + 1;
  std::vector<std::int64_t> maxima(static_cast<std::size_t>(keys_at));

  std::vector<Seen> lanes(static_cast<std::size_t>(shard.lanes()), Seen(D, sum_count));
  std::vector<KnownRowSearch> searches(lanes.size(), KnownRowSearch(known_components, D, seed));
  std::vector<std::vector<double>> scratch(lanes.size());
  std::optional<Failure> failure;
  try {
    shard.for_each_block(
        [&](int lane, const StoredBlock& block) {
          const auto l = static_cast<std::size_t>(lane);
          for_each_piece(block, D, [&](const StoredBlock& piece) { look_at(piece, D, domain, scratch[l], lanes[l]); });
          searches[l].look_at(block);
          lanes[l].content += hash_of_rows(block, D, shard.given_columns());
          auto row = std::lower_bound(chosen.begin(), chosen.end(), block.first_row);
          for (; row != chosen.end() && *row < block.first_row + block.rows; ++row) {
            const Index local = *row - block.first_row;
            std::int64_t* out = sums.data() + sample_at + (row - chosen.begin()) * width;
            for (Index d = 0; d < D; ++d) out[d] = std::bit_cast<std::int64_t>(block.raw[local * D + d]);
            const bool missing = block.missing && block.missing[local];
            out[D] = std::bit_cast<std::int64_t>(missing ? 0.0 : block.weights ? block.weights[local] : 1.0);
          }
        },
        [&] { communicator.pulse(); });
  } catch (const CommunicationError&) {
    throw;
  } catch (...) {
    failure = describe_failure(std::current_exception());
    sums[0] = 1;
  }

  Seen all(D, sum_count);
  for (const Seen& lane : lanes) {
    for (std::size_t c = 0; c < all.sums.size(); ++c) all.sums[c].merge(lane.sums[c]);
    for (std::size_t d = 0; d < all.minimum.size(); ++d) {
      all.minimum[d] = std::min(all.minimum[d], lane.minimum[d]);
      all.maximum[d] = std::max(all.maximum[d], lane.maximum[d]);
    }
    all.largest_weight = std::max(all.largest_weight, lane.largest_weight);
    all.first_fault = std::min(all.first_fault, lane.first_fault);
    all.rows += lane.rows;
    all.content += lane.content;
  }
  sums[1] = all.rows;
  sums[2] = static_cast<std::int64_t>(all.content & 0xFFFFFFFFu);
  sums[3] = static_cast<std::int64_t>(all.content >> 32);
  for (Index c = 0; c < sum_count; ++c) {
    auto& sum = all.sums[static_cast<std::size_t>(c)];
    sum.carry();
    std::copy(sum.limbs().begin(), sum.limbs().end(),
              sums.begin() + limbs_at + c * FullRangeSum::limb_count);
  }
  for (Index d = 0; d < D; ++d) {
    maxima[static_cast<std::size_t>(d)] = ordered(all.maximum[static_cast<std::size_t>(d)]);
    maxima[static_cast<std::size_t>(D + d)] = ordered(-all.minimum[static_cast<std::size_t>(d)]);
  }
  maxima[static_cast<std::size_t>(weight_at)] = ordered(all.largest_weight);
  maxima[static_cast<std::size_t>(fault_at)] = -all.first_fault;
  KnownRowSearch& search = searches.front();
  for (const KnownRowSearch& lane : searches) search.merge(lane);
  maxima.insert(maxima.end(), search.keys().begin(), search.keys().end());

  communicator.sum_and_max(sums, maxima);

  if (sums[0] != 0) spread_error(communicator, failure);
  if (const std::int64_t fault = -maxima[static_cast<std::size_t>(fault_at)]; fault != no_fault)
    throw_fault(fault, domain, shard);

  Scan result;
  result.content = static_cast<std::uint64_t>(sums[2]) + (static_cast<std::uint64_t>(sums[3]) << 32);
  DataSummary& summary = result.summary;
  summary.rows = sums[1];
  summary.columns = D;
  std::vector<double> totals;
  for (Index c = 0; c < sum_count; ++c) {
    FullRangeSum sum;
    std::copy_n(sums.begin() + limbs_at + c * FullRangeSum::limb_count, FullRangeSum::limb_count,
                sum.limbs().begin());
    totals.push_back(sum.value());
  }
  summary.total_weight = totals[static_cast<std::size_t>(D)];
  if (!(summary.total_weight > 0))
    throw DataError(shard.takes_missing() ? "every row is missing or weighs 0: there is nothing to fit"
                                          : "every weight is 0: there is nothing to fit");
  summary.largest_weight = from_ordered(maxima[static_cast<std::size_t>(weight_at)]);
  summary.observed_weight.assign(totals.begin() + width, totals.end());
  for (Index d = 0; d < D; ++d) {
    const double weight =
        domain.takes_nan() ? summary.observed_weight[static_cast<std::size_t>(d)] : summary.total_weight;
    if (!(weight > 0))
      throw DataError("column " + std::to_string(d) + " (counted from 0) is missing in every row that weighs something: leave it out");
    summary.mean.push_back(totals[static_cast<std::size_t>(d)] / weight);
    summary.maximum.push_back(from_ordered(maxima[static_cast<std::size_t>(d)]));
    summary.minimum.push_back(-from_ordered(maxima[static_cast<std::size_t>(D + d)]));
  }
  result.sample.values.reserve(static_cast<std::size_t>(sampled * D));
  for (Index i = 0; i < sampled; ++i) {
    const std::int64_t* row = sums.data() + sample_at + i * width;
    for (Index d = 0; d < D; ++d) result.sample.values.push_back(std::bit_cast<double>(row[d]));
    result.sample.weights.push_back(std::bit_cast<double>(row[D]));
  }
  if (domain.takes_nan() && any_missing(result.sample.values)) {
    leave_out_empty(result.sample, D);
    result.sample.observed = result.sample.values;
    fill_missing(result.sample.values, summary.mean);
  }
  describe_sample(result.sample, summary);
  if (known_components > 0) {
    const auto keys = std::span<const std::int64_t>(maxima).subspan(static_cast<std::size_t>(keys_at));
    std::vector<std::int64_t> bits = search.bits_of(keys);
    communicator.sum(bits);
    result.known = search.rows_of(keys, bits);
    if (domain.takes_nan()) fill_missing(result.known.values, summary.mean);
  }
  return result;
}

Standardisation standardise_for(Scaling scaling, const DataSummary& summary) {
  Standardisation result = Standardisation::none(summary.columns);
  if (scaling == Scaling::none || scaling == Scaling::from_zero) result.reference = summary.mean;
  if (scaling == Scaling::from_zero)
    for (std::size_t i = 0; i < summary.maximum.size(); ++i)
      if (summary.maximum[i] > 0) result.exponent[i] = std::clamp(std::ilogb(summary.maximum[i]) + 1, -900, 900);
  if (!result.reference.empty()) return result;
  int common = std::numeric_limits<int>::min();
  for (Index d = 0; d < summary.columns; ++d) {
    const auto i = static_cast<std::size_t>(d);
    result.centre[i] = summary.mean[i];
    const double reach = std::max(summary.maximum[i] - summary.mean[i], summary.mean[i] - summary.minimum[i]);
    // Rounding leaves a constant column a spread of a few units of its last place: that is no spread.
    const bool constant = summary.maximum[i] == summary.minimum[i];
    if (constant) result.centre[i] = summary.maximum[i];
    result.exponent[i] = constant || !(reach > 0) ? 0 : std::clamp(std::ilogb(reach) + 1, -900, 900);
    if (!constant) common = std::max(common, result.exponent[i]);
  }
  if (scaling == Scaling::common)
    std::fill(result.exponent.begin(), result.exponent.end(), common == std::numeric_limits<int>::min() ? 0 : common);
  return result;
}

}  // namespace tally
