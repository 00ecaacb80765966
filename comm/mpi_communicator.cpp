#include "comm/mpi_communicator.hpp"

#include <algorithm>
#include <array>
#include <exception>

#include "comm/agreement.hpp"
#include "comm/backoff.hpp"
#include "comm/check_mpi.hpp"
#include "comm/host_name.hpp"
#include "comm/in_seconds.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

// MPI counts are ints.
constexpr std::size_t largest_count = (std::size_t{1} << 31) - 1;
constexpr std::size_t piece_count = std::size_t{1} << 30;

// Open MPI sums what is reduced in place along a tree, the whole buffer at every step, but what is not, from this many bytes
// and ranks on, in ever smaller parts (coll/libnbc/nbc_iallreduce.c).
constexpr std::size_t least_copied_bytes = 65536;
constexpr int least_ranks_copied_for = 4;

// Calls `visit(first, count)` for the pieces of a buffer; an empty one is one empty piece.
template <class Visit>
void for_each_piece(std::size_t size, Visit visit) {
  const std::size_t piece = size <= largest_count ? size : piece_count;
  std::size_t first = 0;
  do {
    const std::size_t count = std::min(piece, size - first);
    visit(first, static_cast<int>(count));
    first += count;
  } while (first < size);
}

// Sums and maxima travel as one element of a datatype that is as long as the whole record, so that MPI cannot cut it:
//   length of the sums, length of the maxima, sums, maxima.
constexpr std::size_t header_length = 2;
constexpr std::int64_t lengths_differ = -1;

void combine_records(void* in, void* inout, int* count, MPI_Datatype*) {
  auto* from = static_cast<const std::int64_t*>(in);
  auto* to = static_cast<std::int64_t*>(inout);
  for (int record = 0; record < *count; ++record) {
    if (from[0] != to[0] || from[1] != to[1]) {
      to[0] = lengths_differ;  // an exception cannot cross MPI
      return;
    }
    const std::int64_t end_of_sums = static_cast<std::int64_t>(header_length) + to[0];
    const std::int64_t end = end_of_sums + to[1];
    for (std::int64_t i = header_length; i < end_of_sums; ++i) to[i] += from[i];
    for (std::int64_t i = end_of_sums; i < end; ++i) to[i] = std::max(to[i], from[i]);
    from += end;
    to += end;
  }
}

// The datatype and the operation of one sum_and_max(), freed at the end of the scope.
class RecordReduction {
 public:
  explicit RecordReduction(std::size_t length) {
    check_mpi(MPI_Type_contiguous(static_cast<int>(length), MPI_INT64_T, &type_));
    check_mpi(MPI_Type_commit(&type_));
    check_mpi(MPI_Op_create(combine_records, /*commute=*/1, &operation_));
  }
  ~RecordReduction() {
    if (operation_ != MPI_OP_NULL) MPI_Op_free(&operation_);
    if (type_ != MPI_DATATYPE_NULL) MPI_Type_free(&type_);
  }
  RecordReduction(const RecordReduction&) = delete;
  RecordReduction& operator=(const RecordReduction&) = delete;

  MPI_Datatype type() const noexcept { return type_; }
  MPI_Op operation() const noexcept { return operation_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
  MPI_Op operation_ = MPI_OP_NULL;
};

int rank_on_node(MPI_Comm comm, int rank) {
  MPI_Comm node = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node));
  int node_rank = 0;
  check_mpi(MPI_Comm_rank(node, &node_rank));
  check_mpi(MPI_Comm_free(&node));
  return node_rank;
}

}  // namespace

MpiCommunicator::MpiCommunicator(MPI_Comm parent, const MpiCommunicatorOptions& options)
    : exceptions_at_start_(std::uncaught_exceptions()) {
  check_mpi(MPI_Comm_dup(parent, &comm_));
  check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
  check_mpi(MPI_Comm_rank(comm_, &rank_));
  check_mpi(MPI_Comm_size(comm_, &size_));
  node_rank_ = rank_on_node(comm_, rank_);
  host_names_.assign(static_cast<std::size_t>(size_), "an unknown host");
  heartbeat_ = std::make_unique<Heartbeat>(comm_, options.timeout, options.clock);
  roll_call_ = std::make_unique<RollCall>(comm_, options.timeout, options.clock);
  gather_host_names();
}

MpiCommunicator::~MpiCommunicator() {
  int finalized = 0;
  if (lost_ || MPI_Finalized(&finalized) != MPI_SUCCESS || finalized) return;
  if (std::uncaught_exceptions() > exceptions_at_start_) return;
  try {
    if (!heartbeat_->leave() || !roll_call_->close()) return;
    heartbeat_.reset();
    MPI_Comm_free(&comm_);
  } catch (const CommunicationError&) {
    return;  // the neighbours are gone; there is nobody left to take leave of
  }
}

void MpiCommunicator::sum(std::span<std::int64_t> values) {
  sum_in_pieces("sum", values, MPI_INT64_T);
}

void MpiCommunicator::sum(std::span<double> values) {
  sum_in_pieces("sum", values, MPI_DOUBLE);
}

void MpiCommunicator::sum_and_max(std::span<std::int64_t> sums, std::span<std::int64_t> maxima) {
  const std::size_t length = header_length + sums.size() + maxima.size();
  if (length > largest_count) {
    throw UsageError("sum_and_max of " + std::to_string(sums.size()) + " and " +
                     std::to_string(maxima.size()) + " values is more than one MPI operation can take");
  }
  std::vector<std::int64_t> record;
  record.reserve(length);
  record.push_back(static_cast<std::int64_t>(sums.size()));
  record.push_back(static_cast<std::int64_t>(maxima.size()));
  record.insert(record.end(), sums.begin(), sums.end());
  record.insert(record.end(), maxima.begin(), maxima.end());

  const RecordReduction reduction(length);
  complete("sum_and_max", [&](MPI_Request* request) {
    return MPI_Iallreduce(MPI_IN_PLACE, record.data(), 1, reduction.type(), reduction.operation(), comm_,
                          request);
  });

  if (record[0] == lengths_differ) {
    throw Error("rank " + std::to_string(rank_) + " called sum_and_max of " + std::to_string(sums.size()) +
                " and " + std::to_string(maxima.size()) + " values while another rank gave other lengths");
  }
  const auto middle = record.begin() + header_length + static_cast<std::ptrdiff_t>(sums.size());
  std::copy(record.begin() + header_length, middle, sums.begin());
  std::copy(middle, record.end(), maxima.begin());
}

void MpiCommunicator::broadcast(std::span<std::byte> bytes, int root) {
  for_each_piece(bytes.size(), [&](std::size_t first, int count) {
    complete("broadcast", [&](MPI_Request* request) {
      return MPI_Ibcast(bytes.data() + first, count, MPI_BYTE, root, comm_, request);
    });
  });
}

std::vector<std::vector<std::byte>> MpiCommunicator::gather(std::span<const std::byte> bytes) {
  const auto ranks = static_cast<std::size_t>(size_);
  std::vector<std::int64_t> lengths(ranks);
  lengths[static_cast<std::size_t>(rank_)] = static_cast<std::int64_t>(bytes.size());
  sum_in_pieces("gather", std::span(lengths), MPI_INT64_T);

  std::vector<std::vector<std::byte>> gathered(rank_ == 0 ? ranks : 0);
  const auto piece = static_cast<std::int64_t>(std::max<std::size_t>(1, piece_count / ranks));
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  std::vector<int> counts(ranks);
  std::vector<int> starts(ranks);
  std::vector<std::byte> together;
  for (std::int64_t first = 0; first < longest; first += piece) {
    int total = 0;
    for (std::size_t r = 0; r < ranks; ++r) {
      counts[r] = static_cast<int>(std::clamp<std::int64_t>(lengths[r] - first, 0, piece));
      starts[r] = total;
      total += counts[r];
    }
    if (rank_ == 0) together.resize(static_cast<std::size_t>(total));
    const int own = counts[static_cast<std::size_t>(rank_)];
    complete("gather", [&](MPI_Request* request) {
      return MPI_Igatherv(own == 0 ? nullptr : bytes.data() + first, own, MPI_BYTE, together.data(),
                          counts.data(), starts.data(), MPI_BYTE, 0, comm_, request);
    });
    for (std::size_t r = 0; r < gathered.size(); ++r) {
      const auto begin = together.begin() + starts[r];
      gathered[r].insert(gathered[r].end(), begin, begin + counts[r]);
    }
  }
  return gathered;
}

void MpiCommunicator::barrier() {
  complete("barrier", [&](MPI_Request* request) { return MPI_Ibarrier(comm_, request); });
}

void MpiCommunicator::wait_until(const char* name, const std::function<CollectiveState()>& look) {
  throw_if_lost();
  wait(name, RollCall::Waits::for_devices, look);
}

void MpiCommunicator::give_up(ErrorKind kind, const std::string& message) noexcept {
  try {
    if (!lost_) lost_ = std::make_exception_ptr(Error(message, kind));
    heartbeat_->raise_alarm(kind, message);
  } catch (...) {
    return;  // the next rank cannot be told; it will notice that this one is silent
  }
}

void MpiCommunicator::pulse() {
  throw_if_lost();
  try {
    heartbeat_->beat();
    if (heartbeat_->alarm()) throw_alarm();
  } catch (...) {
    lost_ = std::current_exception();
    throw;
  }
}

void MpiCommunicator::complete(const char* name, const Start& start, std::source_location where) {
  throw_if_lost();
  try {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(start(&request), where);
    wait(name, RollCall::Waits::for_mpi, [&] {
      int done = 0;
      check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), where);
      return done ? CollectiveState::done : CollectiveState::waiting;
    });
  } catch (...) {
    lost_ = std::current_exception();
    throw;
  }
}

void MpiCommunicator::wait(const char* name, RollCall::Waits waits,
                           const std::function<CollectiveState()>& look) {
  roll_call_->begin(name, waits);
  heartbeat_->start_watch();
  for (Backoff backoff;; backoff.pause()) {
    const CollectiveState state = look();
    if (state == CollectiveState::done) return;
    if (state == CollectiveState::working) roll_call_->move();
    try {
      watch(name);
    } catch (...) {
      lost_ = std::current_exception();
      throw;
    }
  }
}

void MpiCommunicator::watch(const char* name) {
  const bool silent = heartbeat_->predecessor_is_silent();
  if (heartbeat_->alarm()) throw_alarm();
  if (silent) throw CommunicationError(describe_loss(name));
  if (roll_call_->finds_standstill()) throw_standstill();
}

void MpiCommunicator::throw_if_lost() const {
  if (lost_) std::rethrow_exception(lost_);
}

void MpiCommunicator::throw_alarm() const {
  const Heartbeat::Alarm& alarm = *heartbeat_->alarm();
  throw_relayed({alarm.kind, alarm.message.data()});
}

void MpiCommunicator::throw_standstill() const {
  const std::string message = describe_standstill();
  if (rank_ == 0) throw CommunicationError(message);
  throw_relayed({ErrorKind::communication, message});
}

std::string MpiCommunicator::place(int rank) const {
  return "rank " + std::to_string(rank) + " on " + host_names_[static_cast<std::size_t>(rank)];
}

std::string MpiCommunicator::describe_standstill() const {
  const auto& answers = roll_call_->answers();
  const auto by_call = [](const auto& a, const auto& b) { return a.call < b.call; };
  const auto behind = std::min_element(answers.begin(), answers.end(), by_call);
  const auto other = std::find_if(answers.begin(), answers.end(), [&](const RollCall::Answer& answer) {
    return answer.call == behind->call && answer.name != behind->name;
  });
  const std::string time = in_seconds(heartbeat_->timeout());
  if (other != answers.end()) {
    const auto waits = [&](auto answer) {
      return place(static_cast<int>(answer - answers.begin())) + " waits in " + answer->name.data();
    };
    return "all ranks have waited for " + time + ": " + waits(behind) + " while " + waits(other) +
           "; this is a defect of the program";
  }
  const bool some_are_ahead = by_call(*behind, *std::max_element(answers.begin(), answers.end(), by_call));
  return std::string(behind->name.data()) + " made no progress for " + time + " on " +
         (some_are_ahead ? place(static_cast<int>(behind - answers.begin()))
                         : std::to_string(size_) + " ranks") +
         " although all ranks take part and are alive; look at the network and the devices, or give a longer "
         "timeout if it needs that long";
}

std::string MpiCommunicator::describe_loss(const char* name) const {
  const std::string lost = place(heartbeat_->predecessor());
  const std::string waiting = place(rank_) + " waited in " + name;
  const std::string time = in_seconds(heartbeat_->timeout());
  if (heartbeat_->predecessor_has_left()) {
    return lost + " ended its part of the job " + time + " ago while " + waiting +
           "; look for its own message";
  }
  return lost + " gave no sign of life for " + time + " while " + waiting +
         "; it crashed, hangs or was cut off, or one of its steps takes longer than that: look at its host, "
         "or give " +
         "a longer timeout";
}

const void* MpiCommunicator::copy_to_send(std::span<const std::byte> bytes) {
  if (bytes.size() < least_copied_bytes || size_ < least_ranks_copied_for) return MPI_IN_PLACE;
  if (sent_.size() < bytes.size()) sent_.resize(bytes.size());
  std::copy(bytes.begin(), bytes.end(), sent_.begin());
  return sent_.data();
}

template <class T>
void MpiCommunicator::sum_in_pieces(const char* name, std::span<T> values, MPI_Datatype type) {
  for_each_piece(values.size(), [&](std::size_t first, int count) {
    const auto piece = values.subspan(first, static_cast<std::size_t>(count));
    const void* const sent = copy_to_send(std::as_bytes(piece));
    complete(name, [&](MPI_Request* request) {
      return MPI_Iallreduce(sent, piece.data(), count, type, MPI_SUM, comm_, request);
    });
  });
}

// A sum to which each rank adds its own place: an allgather of Open MPI's would connect every rank with every other.
void MpiCommunicator::gather_host_names() {
  constexpr std::size_t words = 32, longest = words * sizeof(std::int64_t) - 1;
  std::vector<std::int64_t> names(words * static_cast<std::size_t>(size_));
  const auto place_of = [&](int rank) {
    return reinterpret_cast<char*>(names.data() + words * static_cast<std::size_t>(rank));
  };
  const std::string own = local_host_name().substr(0, longest);
  std::copy(own.begin(), own.end(), place_of(rank_));
  sum_in_pieces("the exchange of host names", std::span(names), MPI_INT64_T);
  for (int rank = 0; rank < size_; ++rank) host_names_[static_cast<std::size_t>(rank)] = place_of(rank);
}

}  // namespace tally
