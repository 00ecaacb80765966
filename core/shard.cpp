#include "core/shard.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>

#include "core/blas.hpp"
#include "core/tile_reader.hpp"

namespace tally {

struct Shard::Buffer {
  std::vector<double> values, weights, given;
  std::vector<unsigned char> missing;
};

Shard::Shard(IoExecutor& io, Inputs inputs, BlockPlan plan, ShardRange range, Options options)
    : io_(io),
      inputs_(inputs),
      plan_(std::move(plan)),
      range_(range),
      columns_(inputs.rows->columns()),
      local_rows_(plan_.first_row(range.last_block) - plan_.first_row(range.first_block)),
      options_(options) {
  resident_ = resident_with(0);
}

bool Shard::resident_with(Index bytes_more) const {
  const Index bytes = resident_bytes(local_rows_, columns_, inputs_.weights != nullptr, given_columns(), options_);
  return options_.memory_limit == 0 || bytes + local_rows_ * bytes_more <= options_.memory_limit;
}

Shard::~Shard() = default;

Index Shard::resident_bytes(Index rows, Index columns, bool weights, Index given_columns, const Options& options) {
  const Index value_bytes = in_float(options.precision) ? 12 : 8;  // raw and single meet while converting
  const Index mark_bytes = options.takes_missing ? 1 : 0;
  return rows * (columns * value_bytes + ((weights ? 1 : 0) + given_columns + 1) * 8 + mark_bytes);
}

Index Shard::streaming_bytes(Index most_block_rows, Index columns, bool weights, Index given_columns,
                             const Options& options) {
  const Index row_bytes = (columns + (weights ? 1 : 0) + given_columns) * 8 + (options.takes_missing ? 1 : 0);
  return (options.lanes + 2) * most_block_rows * row_bytes;
}

namespace {

// Marks the rows (rows, columns) that are NaN alone and puts zeros in their place.
void mark_missing(MatrixView<double> values, unsigned char* marks) {
  for (Index i = 0; i < values.rows; ++i) {
    double* row = values.row(i);
    marks[i] = std::all_of(row, row + values.cols, [](double value) { return std::isnan(value); });
    if (marks[i]) std::fill_n(row, values.cols, 0.0);
  }
}

// These marks, or null where none of them is set.
const unsigned char* marks_or_null(const unsigned char* marks, Index rows) {
  return std::memchr(marks, 1, static_cast<std::size_t>(rows)) ? marks : nullptr;
}

}  // namespace

StoredBlock Shard::place_of(Index local_block) const {
  StoredBlock block;
  block.number = range_.first_block + local_block;
  block.first_row = plan_.first_row(block.number);
  block.rows = plan_.rows_of(block.number);
  return block;
}

StoredBlock Shard::resident_block(Index local_block) const {
  StoredBlock block = place_of(local_block);
  const Index local_row = block.first_row - first_row();
  if (!preparation_)
    block.raw = values_.get() + local_row * columns_;
  else if (single_values_)
    block.standardised_single = single_values_.get() + local_row * columns_;
  else
    block.standardised = values_.get() + local_row * columns_;
  if (!weights_.empty()) block.weights = weights_.data() + local_row;
  if (!offsets_.empty()) block.offsets = offsets_.data() + local_row;
  if (!given_.empty()) block.given = given_.data() + local_row * given_columns();
  if (!missing_.empty()) block.missing = marks_or_null(missing_.data() + local_row, block.rows);
  return block;
}

void Shard::read_into(Buffer& buffer, Index local_block) const {
  const StoredBlock block = place_of(local_block);
  const Index most_rows = plan_.most_rows();
  buffer.values.resize(static_cast<std::size_t>(most_rows * columns_));
  inputs_.rows->read(block.first_row, block.rows, buffer.values.data());
  if (inputs_.weights) {
    buffer.weights.resize(static_cast<std::size_t>(most_rows));
    inputs_.weights->read(block.first_row, block.rows, buffer.weights.data());
  }
  if (inputs_.given) {
    buffer.given.resize(static_cast<std::size_t>(most_rows * given_columns()));
    inputs_.given->read(block.first_row, block.rows, buffer.given.data());
  }
}

void Shard::run_lanes(const std::function<void(int)>& body, std::atomic<Index>& finished, const Pulse& pulse) {
  std::mutex mutex;
  std::condition_variable lane_ended;
  int running = options_.lanes;
  stopping_ = false;
  std::exception_ptr failure;
  std::vector<std::jthread> threads;
  for (int lane = 0; lane < options_.lanes; ++lane)
    threads.emplace_back([&, lane] {
      std::exception_ptr mine;
      try {
        blas::use_one_thread_here();
        body(lane);
      } catch (...) {
        mine = std::current_exception();
      }
      const std::lock_guard lock(mutex);
      if (mine && !failure) failure = mine;
      if (mine) stopping_ = true;
      --running;
      lane_ended.notify_all();
    });
  std::exception_ptr pulse_failure;
  {
    std::unique_lock lock(mutex);
    Index seen = 0;
    while (!lane_ended.wait_for(lock, std::chrono::milliseconds(20), [&] { return running == 0; })) {
      const Index now = finished.load(std::memory_order_relaxed);
      if (now == seen || !pulse || pulse_failure) continue;
      seen = now;
      lock.unlock();
      try {
        pulse();
      } catch (...) {
        pulse_failure = std::current_exception();
      }
      lock.lock();
    }
  }
  threads.clear();
  if (pulse_failure) std::rethrow_exception(pulse_failure);
  if (failure) std::rethrow_exception(failure);
}

namespace {

// What `work` returns; the time that it takes is added to `nanoseconds`.
template <class Work>
auto timed(std::atomic<std::int64_t>& nanoseconds, const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  auto result = work();
  nanoseconds.fetch_add(std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count(),
                        std::memory_order_relaxed);
  return result;
}

// Blocks on their way from the file to the lanes: a ring of buffers, each read by a job of its own, so that other
// I/O takes its turn between blocks.
template <class Buffer>
class Prefetch {
 public:
  using Read = std::function<void(Buffer&, Index)>;
  Prefetch(IoExecutor& io, Index block_count, int buffers, Read read)
      : io_(io), block_count_(block_count), read_(std::move(read)), buffers_(static_cast<std::size_t>(buffers)) {
    for (Buffer& buffer : buffers_) request(buffer);
  }
  ~Prefetch() {
    stop();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return in_flight_ == 0; });
  }
  struct Ready {
    Buffer* buffer;
    Index block;
  };
  // The next block read, or nothing when all were handed out. Throws what a read threw.
  std::optional<Ready> take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return failure_ || stopped_ || !ready_.empty() || taken_ == block_count_; });
    if (failure_) std::rethrow_exception(failure_);
    if (stopped_ || ready_.empty()) return std::nullopt;
    const Ready next = ready_.front();
    ready_.pop_front();
    if (++taken_ == block_count_) changed_.notify_all();
    return next;
  }
  void give_back(Buffer& buffer) { request(buffer); }
  void stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }

 private:
  void request(Buffer& buffer) {
    const std::lock_guard lock(mutex_);
    if (stopped_ || requested_ == block_count_) return;
    const Index block = requested_++;
    ++in_flight_;
    io_.post([this, &buffer, block] {
      std::exception_ptr failure;
      try {
        read_(buffer, block);
      } catch (...) {
        failure = std::current_exception();
      }
      const std::lock_guard done(mutex_);
      if (failure)
        failure_ = failure_ ? failure_ : failure;
      else
        ready_.push_back({&buffer, block});
      --in_flight_;
      changed_.notify_all();
    });
  }

  IoExecutor& io_;
  const Index block_count_;
  const Read read_;
  std::vector<Buffer> buffers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Ready> ready_;
  std::exception_ptr failure_;
  Index requested_ = 0, taken_ = 0;
  int in_flight_ = 0;
  bool stopped_ = false;
};

}  // namespace

void Shard::load(const Visit& visit, const Pulse& pulse) {
  const auto count = static_cast<std::size_t>(local_rows_ * columns_);
  values_ = std::make_unique_for_overwrite<double[]>(count);
  if (inputs_.weights) weights_.resize(static_cast<std::size_t>(local_rows_));
  if (inputs_.given) given_.resize(static_cast<std::size_t>(local_rows_ * given_columns()));
  if (options_.takes_missing) missing_.resize(static_cast<std::size_t>(local_rows_));
  struct Place {};
  Prefetch<Place> blocks(io_, block_count(), options_.lanes + 2, [&](Place&, Index local_block) {
    const StoredBlock block = place_of(local_block);
    const Index first = block.first_row, rows = block.rows, local_row = first - first_row();
    inputs_.rows->read(first, rows, values_.get() + local_row * columns_);
    if (inputs_.weights) inputs_.weights->read(first, rows, weights_.data() + local_row);
    if (inputs_.given) inputs_.given->read(first, rows, given_.data() + local_row * given_columns());
  });
  std::atomic<Index> finished = 0;
  run_lanes(
      [&](int lane) {
        try {
          while (const auto next = timed(waited_, [&] { return blocks.take(); })) {
            if (options_.takes_missing) {
              const StoredBlock block = place_of(next->block);
              const Index local_row = block.first_row - first_row();
              mark_missing({values_.get() + local_row * columns_, block.rows, columns_}, missing_.data() + local_row);
            }
            visit(lane, resident_block(next->block));
            finished.fetch_add(1, std::memory_order_relaxed);
            blocks.give_back(*next->buffer);
          }
        } catch (...) {
          blocks.stop();
          throw;
        }
      },
      finished, pulse);
  loaded_ = true;
}

void Shard::for_each_block(const Visit& visit, const Pulse& pulse) {
  if (resident_ && !loaded_) return load(visit, pulse);
  std::vector<Index> all(static_cast<std::size_t>(block_count()));
  std::iota(all.begin(), all.end(), Index{0});
  for_each_block(all, visit, pulse);
}

void Shard::for_each_block(std::span<const Index> list, const Visit& visit, const Pulse& pulse) {
  const auto count = static_cast<Index>(list.size());
  const auto block_at = [list](Index i) { return list[static_cast<std::size_t>(i)]; };
  std::atomic<Index> finished = 0;
  if (resident_) {
    if (!loaded_) load([](int, const StoredBlock&) {}, pulse);
    std::atomic<Index> next = 0;
    run_lanes(
        [&](int lane) {
          try {
            for (Index i; (i = next.fetch_add(1)) < count; finished.fetch_add(1))
              visit(lane, resident_block(block_at(i)));
          } catch (...) {
            next = count;
            throw;
          }
        },
        finished, pulse);
    return;
  }
  Prefetch<Buffer> blocks(io_, count, options_.lanes + 2,
                          [&](Buffer& buffer, Index i) { read_into(buffer, block_at(i)); });
  run_lanes(
      [&](int lane) {
        try {
          while (const auto next = timed(waited_, [&] { return blocks.take(); })) {
            StoredBlock block = place_of(block_at(next->block));
            block.raw = next->buffer->values.data();
            if (inputs_.weights) block.weights = next->buffer->weights.data();
            if (inputs_.given) block.given = next->buffer->given.data();
            if (options_.takes_missing) {
              std::vector<unsigned char>& marks = next->buffer->missing;
              marks.resize(static_cast<std::size_t>(plan_.most_rows()));
              mark_missing({next->buffer->values.data(), block.rows, columns_}, marks.data());
              block.missing = marks_or_null(marks.data(), block.rows);
            }
            visit(lane, block);
            finished.fetch_add(1, std::memory_order_relaxed);
            blocks.give_back(*next->buffer);
          }
        } catch (...) {
          blocks.stop();
          throw;
        }
      },
      finished, pulse);
}

void Shard::prepare(Preparation preparation, const Pulse& pulse) {
  if (!resident_) {
    preparation_ = std::move(preparation);
    return;
  }
  if (!loaded_) load([](int, const StoredBlock&) {}, pulse);
  const Index D = columns_;
  std::vector<double> scale(static_cast<std::size_t>(D));
  for (Index d = 0; d < D; ++d) scale[static_cast<std::size_t>(d)] = preparation.standardisation.scale(d);
  const bool single = in_float(options_.precision);
  if (single) single_values_ = std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(local_rows_ * D));
  if (preparation.log_base_measure) offsets_.resize(static_cast<std::size_t>(local_rows_));
  for_each_block(
      [&](int, const StoredBlock& block) {
        const Index local_row = block.first_row - first_row();
        double* values = values_.get() + local_row * D;
        if (preparation.log_base_measure)
          for (Index i = 0; i < block.rows; ++i)
            offsets_[static_cast<std::size_t>(local_row + i)] =
                block.missing && block.missing[i] ? 0 : preparation.log_base_measure(values + i * D);
        const MatrixView<const double> raw(values, block.rows, D);
        const double* centre = preparation.standardisation.centre.data();
        if (single)
          standardise(raw, block.weights, block.missing, centre, scale.data(),
                      MatrixView<float>(single_values_.get() + local_row * D, block.rows, D));
        else
          standardise(raw, block.weights, block.missing, centre, scale.data(),
                      MatrixView<double>(values, block.rows, D));
      },
      pulse);
  if (single) values_.reset();
  preparation_ = std::move(preparation);
}

void Shard::forget_given() {
  inputs_.given = nullptr;
  given_ = std::vector<double>();  // frees the memory, which `= {}` would keep
}

}  // namespace tally
