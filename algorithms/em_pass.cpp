#include "algorithms/em_pass.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <ctime>
#include <limits>

#include "algorithms/block_by_block.hpp"
#include "algorithms/bound_device_model.hpp"
#include "comm/agreement.hpp"
#include "comm/device_wait.hpp"
#include "comm/in_seconds.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"

namespace tally {
namespace {

__extension__ typedef __int128 WideInteger;

// Of all threads of this process.
double processor_seconds() {
  timespec spent{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
  return static_cast<double>(spent.tv_sec) + 1e-9 * static_cast<double>(spent.tv_nsec);
}

std::vector<int> exponents_from_bounds(const Model& model, const Shard& shard, const DataSummary& summary) {
  std::vector<int> exponents;
  for (const double bound : model.bounds(summary))
    exponents.push_back(
        make_grid(bound * summary.largest_weight * static_cast<double>(shard.plan().most_rows()), 0)
            .exponent);
  return exponents;
}

std::vector<Grid> grids_of(std::span<const int> exponents, Index blocks) {
  std::vector<Grid> result;
  const auto headroom = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(blocks)));
  for (const int exponent : exponents) result.push_back({exponent, headroom});
  return result;
}

// A sum on the devices, from what the host knows going there to the sum being here.
class SumOfPass final : public DeviceCollective {
 public:
  SumOfPass(DeviceCollective& sum, BoundModel& bound, Tally& tally, const std::optional<Failure>& failure)
      : sum_(sum), bound_(bound), tally_(tally), failure_(failure) {}
  const char* name() const noexcept override { return sum_.name(); }
  void start() override {
    if (failure_ && failure_->kind == ErrorKind::device) throw_error(failure_->kind, failure_->message);
    bound_.before_sum(tally_);
    sum_.start();
  }
  CollectiveState poll() override {
    const CollectiveState state = sum_.poll();
    if (state == CollectiveState::done) bound_.after_sum(tally_);
    return state;
  }
  void abort() noexcept override { sum_.abort(); }

 private:
  DeviceCollective& sum_;
  BoundModel& bound_;
  Tally& tally_;
  const std::optional<Failure>& failure_;  // of this rank's part: a broken device cannot take part in the sum
};

// All R ranks agree on a number h exactly when R sum h^2 = (sum h)^2; pieces of 21 bits keep the sums in range.
void write_hash(Tally& tally, std::uint64_t hash) {
  for (int piece = 0; piece < 3; ++piece) {
    const auto h = static_cast<std::int64_t>(hash >> (21 * piece) & 0x1FFFFF);
    tally.counter(static_cast<Tally::Counter>(Tally::hash_0 + piece)) = h;
    tally.counter(static_cast<Tally::Counter>(Tally::square_0 + piece)) = h * h;
  }
}

}  // namespace

PassPart::PassPart(const Model& model, const Shard& shard, const DataSummary& summary, int candidates,
                   const FitOptions& options, std::vector<int> exponents)
    : model_(model),
      candidates_(candidates),
      blocks_(shard.plan().block_count()),
      exponents_(exponents.empty() ? exponents_from_bounds(model, shard, summary) : std::move(exponents)),
      tally_(candidates, model.statistics(), grids_of(exponents_, blocks_), options.summation),
      preparation_{model.standardisation(), model.log_base_measure()} {}

void PassPart::bind(const FitOptions& options, int lanes) {
  bound_ = bind_model(
      model_, {options.precision, lanes, candidates_, options.summation, options.device, options.row_memory,
               options.stepwise.has_value()});
  block_by_block_ = dynamic_cast<BlockByBlock*>(bound_.get());
}

std::vector<double> PassPart::statistics(int candidate) const {
  std::vector<double> sums(static_cast<std::size_t>(model_.statistics().size()));
  tally_.statistics(candidate, sums);
  return sums;
}

void PassPart::prepare() {
  for (std::size_t i = 0; i < running_.size(); ++i) bound_->prepare(running_[i], *parameters_[i]);
}

void PassPart::begin_blocks(const Shard& shard) {
  block_by_block_->begin_rows(shard.preparation() ? *shard.preparation() : preparation_);
  block_by_block_->begin_sums(tally_);
}

// The rare event: a value outgrew its field's grid somewhere. All ranks take the widest exponents.
void PassPart::widen_grids(Communicator& communicator) {
  std::vector<std::int64_t> needed;
  for (std::size_t f = 0; f < exponents_.size(); ++f)
    needed.push_back(std::max<std::int64_t>(exponents_[f], tally_.reports()[f].largest_exponent));
  communicator.sum_and_max({}, needed);
  for (std::size_t f = 0; f < exponents_.size(); ++f) exponents_[f] = static_cast<int>(needed[f]);
  tally_.set_grids(grids_of(exponents_, blocks_));
}

Pass::Pass(std::span<PassPart> parts, Shard& shard, const FitOptions& options, Communicator& communicator)
    : parts_(parts),
      shard_(shard),
      communicator_(communicator),
      summation_(options.summation),
      remembers_(options.remembers),
      exchange_(shard, communicator) {
  const auto bind = [&] {
    for (PassPart& part : parts_) part.bind(options, shard.lanes());
  };
  // A device of one rank alone may have too little memory.
  if (options.device)
    agree(communicator, bind);
  else
    bind();
  if (parts_.size() == 1) return;
  for (PassPart& part : parts_)
    if (!part.block_by_block())
      throw UsageError("several models are fitted together on the CPU, where rows are independent");
}

void Pass::report_times(IterationReport& report) const {
  report.read_seconds = read_seconds_;
  report.compute_seconds = std::max(0.0, pass_seconds_ - read_seconds_ - exchange_.seconds());
  report.reduce_seconds = reduce_seconds_ + exchange_.seconds();
  report.processor_seconds = processor_seconds_;
}

std::string Pass::impossible_row(const PassPart& part, int candidate) {
  constexpr std::int64_t none = std::numeric_limits<std::int64_t>::max();
  const Index mine = part.bound_->impossible_row(candidate);
  std::int64_t first = mine < 0 ? -none : -mine;
  communicator_.sum_and_max({}, std::span(&first, 1));
  if (first == -none) return "some row";
  std::string name = shard_.inputs().rows->where(-first);
  if (const Sequences* sequences = shard_.plan().sequences()) {
    const Index sequence = sequences->sequence_of(-first);
    name += ", step " + std::to_string(-first - sequences->first_row(sequence)) + " of sequence " +
            std::to_string(sequence) + " (counted from 0),";
  }
  return name;
}

void Pass::run(PassKind kind, bool stop_requested, std::span<const BlockGroup> groups) {
  reduce_seconds_ = 0;
  const double read_before = shard_.read_seconds(), processor_before = processor_seconds();
  const auto preparing = std::chrono::steady_clock::now();
  std::vector<PassPart*> parts;
  for (PassPart& part : parts_)
    if (!part.running_.empty()) parts.push_back(&part);
  exchange_.begin();
  exchange_.locally([&] {
    for (PassPart* part : parts) part->prepare();
  });
  pass_seconds_ = seconds_since(preparing);
  Hasher hasher;
  for (const PassPart* part : parts) {
    for (const auto* values : part->parameters_) hasher.add(std::span<const double>(*values));
    hasher.add(std::span<const int>(part->exponents_));
  }
  const std::uint64_t hash = hasher.value();
  Tally& first = parts.front()->tally_;  // its counters speak for all, but for misfits
  for (bool fits = false; !fits;) {
    for (PassPart* part : parts) part->tally_.reset();
    const auto start = std::chrono::steady_clock::now();
    if (groups.empty())
      accumulate(parts, kind);
    else
      accumulate_groups(*parts.front(), kind, groups);
    const std::optional<Failure>& failure = exchange_.failure();
    if (failure) first.counter(Tally::failures) = 1;
    pass_seconds_ += seconds_since(start);
    read_seconds_ = shard_.read_seconds() - read_before;
    processor_seconds_ = processor_seconds() - processor_before;
    first.counter(Tally::stop_requests) = stop_requested;
    write_hash(first, hash);
    const auto reducing = std::chrono::steady_clock::now();
    for (PassPart* part : parts) part->tally_.carry();
    sum_over_ranks(parts);
    reduce_seconds_ += seconds_since(reducing);
    check_hash(first, hash);
    if (first.counter(Tally::failures) > 0) spread_error(communicator_, failure);
    fits = true;
    for (PassPart* part : parts) {
      if (part->tally_.counter(Tally::misfits) == 0) continue;
      part->widen_grids(communicator_);
      fits = false;
    }
  }
  stopping_ = first.counter(Tally::stop_requests) > 0;
  for (PassPart* part : parts) part->tally_.carry();
}

void Pass::accumulate(std::span<PassPart* const> parts, PassKind kind) {
  const auto pulse = [this] { communicator_.pulse(); };
  if (PassPart& part = *parts.front(); !part.block_by_block()) {  // and no other: only these share a reading
    part.bound_->exchange_messages(shard_, part.running_, kind, exchange_, pulse);
    exchange_.locally([&] { part.bound_->accumulate(shard_, part.running_, kind, part.tally_, pulse); });
    return;
  }
  exchange_.locally([&] {
    for (PassPart* part : parts) part->begin_blocks(shard_);
    if (kind == PassKind::expectation && remembers_) remember_rows(parts);
    shard_.for_each_block(
        [&](int lane, const StoredBlock& block) {
          for (PassPart* part : parts)
            part->block_by_block()->add(lane, block, shard_.given_columns(), part->running_, kind);
        },
        pulse);
    for (PassPart* part : parts) part->block_by_block()->end_sums(part->tally_);
  });
}

// Where all of it fits beside the rows.
void Pass::remember_rows(std::span<PassPart* const> parts) const {
  Index bytes = 0;
  for (const PassPart& part : parts_) bytes += part.bound_->remembered_bytes();
  if (bytes == 0 || !shard_.resident_with(bytes)) return;
  for (PassPart* part : parts) part->block_by_block_->remember_rows(shard_.first_row(), shard_.local_rows());
}

void Pass::accumulate_groups(PassPart& part, PassKind kind, std::span<const BlockGroup> groups) {
  exchange_.locally([&] {
    BlockByBlock& rows = *part.block_by_block();
    part.begin_blocks(shard_);
    for (const BlockGroup& group : groups)
      shard_.for_each_block(
          group.blocks,
          [&](int lane, const StoredBlock& block) { rows.add(lane, block, shard_.given_columns(), group.candidates, kind); },
          [this] { communicator_.pulse(); });
    rows.end_sums(part.tally_);
  });
}

// Where the statistics are: on the devices, or here. What a device throws on its way is told to all ranks too.
void Pass::sum_over_ranks(std::span<PassPart* const> parts) {
  Tally& only = parts.front()->tally_;
  if (DeviceCollective* const sum = parts.front()->bound_->sum_over_ranks()) {
    SumOfPass operation(*sum, *parts.front()->bound_, only, exchange_.failure());
    wait_for(operation, communicator_);
  } else if (parts.size() == 1) {
    communicator_.sum(only.buffer());
  } else {
    sum_joined(parts);
  }
  if (summation_ == Summation::plain)
    for (PassPart* part : parts) communicator_.sum(part->tally_.plain_buffer());
}

void Pass::sum_joined(std::span<PassPart* const> parts) {
  joined_.clear();
  for (PassPart* part : parts)
    joined_.insert(joined_.end(), part->tally_.buffer().begin(), part->tally_.buffer().end());
  communicator_.sum(joined_);
  auto from = joined_.begin();
  for (PassPart* part : parts) {
    const std::span<std::int64_t> buffer = part->tally_.buffer();
    std::copy_n(from, buffer.size(), buffer.begin());
    from += static_cast<std::ptrdiff_t>(buffer.size());
  }
}

void Pass::check_hash(const Tally& tally, std::uint64_t hash) {
  for (int piece = 0; piece < 3; ++piece) {
    const WideInteger sum = tally.counter(static_cast<Tally::Counter>(Tally::hash_0 + piece));
    const WideInteger squares = tally.counter(static_cast<Tally::Counter>(Tally::square_0 + piece));
    if (sum * sum != squares * communicator_.size()) name_the_odd_host(hash);
  }
}
void Pass::name_the_odd_host(std::uint64_t hash) {
  std::vector<std::byte> mine(sizeof hash);
  std::memcpy(mine.data(), &hash, sizeof hash);
  const std::string& host = communicator_.host_name();
  mine.insert(mine.end(), reinterpret_cast<const std::byte*>(host.data()),
              reinterpret_cast<const std::byte*>(host.data() + host.size()));
  const auto all = communicator_.gather(mine);
  std::optional<Failure> verdict;
  if (communicator_.rank() == 0) {
    const auto hash_of = [&](std::size_t r) {
      std::uint64_t value = 0;
      std::memcpy(&value, all[r].data(), sizeof value);
      return value;
    };
    std::size_t odd = 0, fewest = all.size() + 1;
    for (std::size_t r = 0; r < all.size(); ++r) {
      std::size_t same = 0;
      for (std::size_t s = 0; s < all.size(); ++s) same += hash_of(s) == hash_of(r);
      if (same < fewest) {
        fewest = same;
        odd = r;
      }
    }
    const std::string name(reinterpret_cast<const char*>(all[odd].data()) + sizeof hash,
                           all[odd].size() - sizeof hash);
    verdict = Failure{
        ErrorKind::communication,
        "the ranks hold different parameters: rank " + std::to_string(odd) + " on " + name +
            " differs from the others; use the same kind of processor and the same libraries everywhere"};
  }
  spread_error(communicator_, verdict);
}

}  // namespace tally
