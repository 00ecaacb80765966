#pragma once
#include <stdexcept>
#include <string>

namespace tally {

// What went wrong, in the order of the command's exit statuses.
enum class ErrorKind : int { other = 1, usage = 2, data = 3, device = 4, communication = 5 };

// Base of every exception that Tally throws. The message says what, where and what to do.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ErrorKind kind = ErrorKind::other)
      : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

// The caller asked for something impossible or contradictory.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(message, ErrorKind::usage) {}
};

// A file or its contents cannot be used.
class DataError : public Error {
 public:
  explicit DataError(const std::string& message) : Error(message, ErrorKind::data) {}
};

// A device is missing, too small or broken.
class DeviceError : public Error {
 public:
  explicit DeviceError(const std::string& message) : Error(message, ErrorKind::device) {}
};

// Another rank failed, disagreed or went silent.
class CommunicationError : public Error {
 public:
  explicit CommunicationError(const std::string& message)
      : Error(message, ErrorKind::communication) {}
};

// Throws the class of the hierarchy that `kind` names: how an error of one rank is rethrown on the others.
[[noreturn]] void throw_error(ErrorKind kind, const std::string& message);

}  // namespace tally
