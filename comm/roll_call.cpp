#include "comm/roll_call.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>

#include "comm/backoff.hpp"
#include "comm/check_mpi.hpp"

namespace tally {
namespace {

using namespace std::chrono_literals;

// Answers are summed as integers.
static_assert(std::is_trivially_copyable_v<RollCall::Answer>);
static_assert(std::has_unique_object_representations_v<RollCall::Answer>);
constexpr std::size_t answer_words = sizeof(RollCall::Answer) / sizeof(std::int64_t);
static_assert(answer_words * sizeof(std::int64_t) == sizeof(RollCall::Answer));

bool all_answered_without_moving(const std::vector<RollCall::Answer>& answers) {
  return std::none_of(answers.begin(), answers.end(),
                      [](const RollCall::Answer& answer) { return answer.has_moved || answer.is_leaving; });
}

// Of ranks that all wait: whether that has no end. The one furthest behind is not ahead of any other, so all have
// entered what it waits for, unless one waits in a call of the same number under another name.
bool none_can_get_on(const std::vector<RollCall::Answer>& answers) {
  const auto& behind = *std::min_element(answers.begin(), answers.end(),
                                         [](const auto& a, const auto& b) { return a.call < b.call; });
  return behind.waits == RollCall::Waits::for_devices ||
         std::any_of(answers.begin(), answers.end(), [&](const RollCall::Answer& answer) {
           return answer.call == behind.call && answer.name != behind.name;
         });
}

}  // namespace

RollCall::RollCall(MPI_Comm parent, std::chrono::milliseconds timeout, TimeNow clock)
    : timeout_(timeout),
      interval_(std::clamp<std::chrono::milliseconds>(timeout / 20, 50ms, 2s)),
      clock_(std::move(clock)) {
  check_mpi(MPI_Comm_dup(parent, &comm_));
  check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
  int size = 1;
  check_mpi(MPI_Comm_size(comm_, &size));
  check_mpi(MPI_Comm_rank(comm_, &rank_));
  sent_->resize(static_cast<std::size_t>(size));
  std::memset(static_cast<void*>(sent_->data()), 0, sent_->size() * sizeof(Answer));
  answers_->resize(static_cast<std::size_t>(size));
  last_look_ = next_answer_ = clock_();
}

RollCall::~RollCall() {
  if (round_ == MPI_REQUEST_NULL) return;
  // MPI may still write there, and a collective cannot be cancelled.
  (void)sent_.release();
  (void)answers_.release();
}

void RollCall::begin(const char* name, Waits waits) {
  ++own_.call;
  own_.waits = waits;
  own_.name.fill('\0');
  const std::string_view text = std::string_view(name).substr(0, own_.name.size() - 1);
  std::copy(text.begin(), text.end(), own_.name.begin());
  move();
}

void RollCall::move() {
  ++moves_;
  waited_ = {};
  last_look_ = clock_();
}

bool RollCall::finds_standstill() {
  const auto now = clock_();
  // Time in which this rank did not run (a suspended job) counts as one interval.
  waited_ += std::min(now - last_look_, interval_);
  last_look_ = now;
  if (waited_ <= timeout_) return false;
  if (round_ == MPI_REQUEST_NULL) {
    if (now >= next_answer_) post(/*is_leaving=*/false);
    return false;
  }
  const bool of_this_wait = moves_at_last_answer_ == moves_;
  if (!round_is_over()) return false;
  next_answer_ = now + interval_;
  return of_this_wait && all_answered_without_moving(*answers_) && none_can_get_on(*answers_);
}

bool RollCall::close() {
  const auto start = clock_();
  for (Backoff backoff;; backoff.pause()) {
    if (round_ == MPI_REQUEST_NULL) post(/*is_leaving=*/true);
    if (round_is_over() && std::all_of(answers_->begin(), answers_->end(),
                                       [](const Answer& answer) { return answer.is_leaving; })) {
      MPI_Comm_free(&comm_);
      return true;
    }
    if (clock_() - start > timeout_) return false;
  }
}

void RollCall::post(bool is_leaving) {
  own_.has_moved = moves_ != moves_at_last_answer_;
  own_.is_leaving = is_leaving;
  moves_at_last_answer_ = moves_;
  (*sent_)[static_cast<std::size_t>(rank_)] = own_;
  const auto words = static_cast<int>(sent_->size() * answer_words);
  check_mpi(MPI_Iallreduce(sent_->data(), answers_->data(), words, MPI_INT64_T, MPI_SUM, comm_, &round_));
}

bool RollCall::round_is_over() {
  int over = 0;
  check_mpi(MPI_Test(&round_, &over, MPI_STATUS_IGNORE));
  return over;
}

}  // namespace tally
