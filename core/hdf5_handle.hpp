#pragma once
#include <cstddef>
#include <functional>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <hdf5.h>

namespace tally {

// Everything here belongs on an IoExecutor's thread.

// Owns an HDF5 identifier and knows the function that closes it.
class Hdf5Handle {
 public:
  using Close = herr_t (*)(hid_t);

  Hdf5Handle() = default;
  Hdf5Handle(hid_t id, Close closer) : id_(id), close_(closer) {}
  ~Hdf5Handle() { reset(); }
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    if (this != &other) {
      reset();
      id_ = std::exchange(other.id_, -1);
      close_ = other.close_;
    }
    return *this;
  }

  hid_t get() const noexcept { return id_; }
  explicit operator bool() const noexcept { return id_ >= 0; }
  // Closes what is held, ignoring errors.
  void reset() noexcept {
    if (id_ >= 0) close_(std::exchange(id_, -1));
  }
  // Closes what is held. Throws DataError where HDF5 cannot.
  void close(std::string_view what, std::source_location where = std::source_location::current());

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

// Stops HDF5 from printing its errors by itself.
void silence_hdf5();

// The most specific words that HDF5 has about its last error; where the system gave an error, the system's words.
std::string hdf5_error_words();

// Throws DataError "`what`: words of HDF5 (file:line)".
[[noreturn]] void throw_hdf5_error(std::string_view what, std::source_location where);

// Passes on what an HDF5 function returned. Throws DataError where it is negative.
template <class T>
T check_hdf5(T value, std::string_view what, std::source_location where = std::source_location::current()) {
  if (value < 0) throw_hdf5_error(what, where);
  return value;
}

// File access properties without file locks, which many network file systems do not have.
Hdf5Handle hdf5_file_access();

// Opens a file for reading. Throws DataError that says whether it is missing, unreadable, no HDF5 file or truncated.
Hdf5Handle open_hdf5(const std::string& file);

// The size on disk, now, of a file that `open_hdf5` opened. Throws DataError.
std::int64_t hdf5_file_bytes(hid_t file);

// A new file that is in memory alone, and the bytes of it as a file.
Hdf5Handle hdf5_file_in_memory();
std::vector<std::byte> hdf5_image(hid_t file);

// Whether `path` ("/a/b") leads to something in the file.
bool hdf5_contains(hid_t file, const std::string& path);

// Names directly in a group, sorted.
std::vector<std::string> hdf5_names(hid_t group);

// Visits the data sets below a group that is the file's root, so many groups deep, until `visit` says no. Links may lead to the
// same group in many ways, round in circles too: it is followed once.
using VisitDataset = std::function<bool(const std::string& path, hid_t dataset)>;
void hdf5_visit_datasets(hid_t root, int deepest, const VisitDataset& visit);

// What a file holds, for messages: "it has /x, /labels and 3 more".
std::string hdf5_contents(hid_t file);

}  // namespace tally
