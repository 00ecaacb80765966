#pragma once
#include <exception>
#include <functional>
#include <optional>
#include <string>

#include "comm/communicator.hpp"
#include "core/error.hpp"

namespace tally {

// What is left of an exception when it travels to other ranks.
struct Failure {
  ErrorKind kind = ErrorKind::other;
  std::string message;
};

// Describes any exception; one that is not an Error gets ErrorKind::other.
Failure describe_failure(const std::exception_ptr& exception);

// A second base of every error thrown by agree() and spread_error(): all ranks throw it, so one of them reports it
// and MPI can be finalized. Any other exception concerns this rank alone, and the job must be aborted.
class AgreedFailure {
 public:
  virtual ~AgreedFailure() = default;
};

// A second base of errors that happened on another rank, which reports them: one that gave up.
class RelayedFailure {
 public:
  virtual ~RelayedFailure() = default;
};

// Throws the error that another rank told of.
[[noreturn]] void throw_relayed(const Failure& failure);

// A second base of an error that one rank met by itself in what all ranks do together, such as a device that breaks. The
// others were told (they throw a RelayedFailure); this rank reports it and ends the job.
class OwnFailure {
 public:
  virtual ~OwnFailure() = default;
};
[[noreturn]] void throw_own(const Failure& failure);

// Runs `local_work`, which must not be collective, on every rank. Where it throws on any rank, every rank throws the
// same error: the kind and message of the lowest failing rank, which is named unless all failed. One sum where all
// goes well. Collective.
void agree(Communicator& communicator, const std::function<void()>& local_work);

// Runs work that every rank does alike on the same input, collectives included: an Error it throws is thrown by all
// ranks, and becomes an AgreedFailure without a word between them. A CommunicationError passes as it is, and so does a
// DeviceError, since devices break on one rank alone.
void replicate(const std::function<void()>& work);

// Makes all ranks throw the error of the lowest rank that has one, as agree() does: for ranks that know already, from
// a reduced count, that somebody failed. Takes a sum and two broadcasts. Collective.
[[noreturn]] void spread_error(Communicator& communicator, const std::optional<Failure>& mine);

}  // namespace tally
