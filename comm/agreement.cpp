#include "comm/agreement.hpp"

#include <algorithm>
#include <array>
#include <new>
#include <vector>

namespace tally {
namespace {

template <class Base, class Mark>
class Marked : public Base, public Mark {
 public:
  explicit Marked(const Base& error) : Base(error) {}
};

template <class Mark, class Base>
[[noreturn]] void throw_marked(const Base& error) {
  throw Marked<Base, Mark>(error);
}

template <class Mark>
[[noreturn]] void throw_failure(const Failure& failure) {
  try {
    throw_error(failure.kind, failure.message);
  } catch (const UsageError& error) {
    throw_marked<Mark>(error);
  } catch (const DataError& error) {
    throw_marked<Mark>(error);
  } catch (const DeviceError& error) {
    throw_marked<Mark>(error);
  } catch (const CommunicationError& error) {
    throw_marked<Mark>(error);
  } catch (const Error& error) {
    throw_marked<Mark>(error);
  }
}

[[noreturn]] void throw_agreed(const Failure& failure) {
  throw_failure<AgreedFailure>(failure);
}

std::string name_of(const Communicator& communicator) {
  return "rank " + std::to_string(communicator.rank()) + " on " + communicator.host_name();
}

}  // namespace

Failure describe_failure(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return {error.kind(), error.what()};
  } catch (const std::bad_alloc&) {
    return {ErrorKind::other, "out of memory; use less memory per rank or fewer ranks per host"};
  } catch (const std::exception& error) {
    return {ErrorKind::other, error.what()};
  } catch (...) {
    return {ErrorKind::other, "an exception of unknown type"};
  }
}

void throw_relayed(const Failure& failure) {
  throw_failure<RelayedFailure>(failure);
}

void throw_own(const Failure& failure) {
  throw_failure<OwnFailure>(failure);
}

void replicate(const std::function<void()>& work) {
  try {
    work();
  } catch (const CommunicationError&) {
    throw;
  } catch (const AgreedFailure&) {
    throw;
  } catch (const RelayedFailure&) {
    throw;
  } catch (const OwnFailure&) {
    throw;
  } catch (const DeviceError&) {
    throw;
  } catch (const Error& error) {
    throw_agreed({error.kind(), error.what()});
  }
}

void agree(Communicator& communicator, const std::function<void()>& local_work) {
  std::optional<Failure> mine;
  try {
    local_work();
  } catch (...) {
    mine = describe_failure(std::current_exception());
  }
  std::array<std::int64_t, 1> failures = {mine ? 1 : 0};
  communicator.sum(failures);
  if (failures[0] != 0) spread_error(communicator, mine);
}

void spread_error(Communicator& communicator, const std::optional<Failure>& mine) {
  // One entry a rank: its ErrorKind, 0 where it has none.
  std::vector<std::int64_t> kinds(static_cast<std::size_t>(communicator.size()));
  if (mine) kinds[static_cast<std::size_t>(communicator.rank())] = static_cast<std::int64_t>(mine->kind);
  communicator.sum(kinds);
  const auto failed = [](std::int64_t kind) { return kind != 0; };
  const auto first = std::find_if(kinds.begin(), kinds.end(), failed);
  if (first == kinds.end()) {
    throw_agreed(
        {ErrorKind::other, "a failure was counted, but no rank has one to report; this is a defect"});
  }

  const int lowest = static_cast<int>(first - kinds.begin());
  std::string message;
  if (communicator.rank() == lowest) {
    const bool all_failed = std::all_of(kinds.begin(), kinds.end(), failed);
    message = all_failed ? mine->message : name_of(communicator) + ": " + mine->message;
  }
  std::array<std::uint64_t, 1> length = {message.size()};
  communicator.broadcast(std::as_writable_bytes(std::span(length)), lowest);
  message.resize(length[0]);
  communicator.broadcast(std::as_writable_bytes(std::span(message)), lowest);
  throw_agreed({static_cast<ErrorKind>(*first), message});
}

}  // namespace tally
