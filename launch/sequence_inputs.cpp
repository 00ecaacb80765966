#include "launch/sequence_inputs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "algorithms/latent/chain_shape.hpp"
#include "core/error.hpp"
#include "core/hdf5_rows.hpp"

namespace tally {
namespace {

// Whole numbers up to here are all doubles.
constexpr double largest_length = 9007199254740992.0;  // 2^53

bool is_whole(double value) { return std::abs(value) <= largest_length && value == std::floor(value); }

std::vector<Index> whole_numbers(const RowSource& source) {
  constexpr Index at_a_time = Index{1} << 16;
  std::vector<Index> numbers;
  numbers.reserve(static_cast<std::size_t>(source.rows()));
  std::vector<double> values;
  for (Index first = 0; first < source.rows(); first += at_a_time) {
    values.resize(static_cast<std::size_t>(std::min(at_a_time, source.rows() - first)));
    source.read(first, static_cast<Index>(values.size()), values.data());
    for (const double value : values) {
      if (!is_whole(value))
        throw DataError(fmt::format("{} is {}: sequence {} has no whole number of steps (sequences are counted from 0)",
                                    source.where(static_cast<Index>(numbers.size())), value, numbers.size()));
      numbers.push_back(static_cast<Index>(value));
    }
  }
  return numbers;
}

}  // namespace

std::shared_ptr<const Sequences> read_lengths(IoExecutor& io, const std::string& name) {
  const Hdf5Rows source(io, {name});
  if (source.columns() != 1)
    throw DataError(fmt::format("{} has {} columns; lengths of sequences are one column of whole numbers",
                                source.name(), source.columns()));
  const std::vector<Index> lengths = whole_numbers(source);
  for (std::size_t s = 0; s < lengths.size(); ++s)
    if (lengths[s] <= 0)
      throw DataError(fmt::format("{} is {}: sequence {} {} (sequences are counted from 0)",
                                  source.where(static_cast<Index>(s)), lengths[s], s,
                                  lengths[s] == 0 ? "is empty" : "has a negative length"));
  double steps = 0;
  for (const Index length : lengths) steps += static_cast<double>(length);
  if (steps > largest_length) throw DataError(fmt::format("{} sums to {:.0f} steps, more than any data", source.name(), steps));
  return std::make_shared<const Sequences>(Sequences::of_lengths(lengths));
}

std::shared_ptr<const Sequences> read_lengths(IoExecutor& io, const std::string& name, Index rows,
                                              const std::string& owner) {
  auto sequences = read_lengths(io, name);
  if (sequences->rows() != rows)
    throw DataError(fmt::format("{} sums to {} steps but {} has {} rows; every row is a step of one sequence", name,
                                sequences->rows(), owner, rows));
  return sequences;
}

std::shared_ptr<const Sequences> sequences_for(const Model& model, IoExecutor& io, const std::string& name, Index rows,
                                               const std::string& owner) {
  if (!model.sequence_cut()) {
    if (!name.empty()) throw UsageError("--lengths " + name + ": " + model.name() + " takes rows as independent");
    return nullptr;
  }
  if (!name.empty()) return read_lengths(io, name, rows, owner);
  return std::make_shared<const Sequences>(Sequences::one(rows));
}

Index rows_to_draw(const Model& model, IoExecutor& io, const std::string& name, Index rows) {
  return rows == 0 && !name.empty() && model.sequence_cut() ? read_lengths(io, name)->rows() : rows;
}

BlockPlan plan_for(const Model& model, const std::shared_ptr<const Sequences>& sequences, Index rows, Index block_rows) {
  if (!sequences) return BlockPlan::uniform(rows, block_rows);
  const SequenceCut cut = *model.sequence_cut();
  return BlockPlan::of_sequences(sequences, cut.piece_steps, cut.block_rows);
}

std::string words_of_cut(const Model& model) {
  const auto cut = model.sequence_cut();
  if (!cut) return {};
  return fmt::format("{} steps a piece, {} rows a block, messages {}", cut->piece_steps, cut->block_rows,
                     model.components() <= most_composed_states ? "composed" : "in order");
}

RowWork work_of(const Model& model) {
  const auto cut = model.sequence_cut();
  return cut ? RowWork{cut->whole_work, cut->cut_work} : RowWork{};
}

SequenceWeights::SequenceWeights(std::unique_ptr<RowSource> weights, std::shared_ptr<const Sequences> sequences)
    : weights_(std::move(weights)), sequences_(std::move(sequences)) {
  if (weights_->rows() != sequences_->count() || weights_->columns() != 1)
    throw DataError(fmt::format("{} has {} rows of {} weights but there are {} sequences; one is needed for each "
                                "sequence",
                                weights_->name(), weights_->rows(), weights_->columns(), sequences_->count()));
}

void SequenceWeights::read(Index first, Index count, double* out) const {
  if (count == 0) return;
  const Index begin = sequences_->sequence_of(first), end = sequences_->sequence_of(first + count - 1) + 1;
  std::vector<double> weights(static_cast<std::size_t>(end - begin));
  weights_->read(begin, end - begin, weights.data());
  for (Index s = begin; s < end; ++s) {
    const Index from = std::max(first, sequences_->first_row(s));
    const Index to = std::min(first + count, sequences_->first_row(s + 1));
    std::fill_n(out + (from - first), to - from, weights[static_cast<std::size_t>(s - begin)]);
  }
}

}  // namespace tally
