#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/view.hpp"

namespace tally {

class IoExecutor;

// A numeric array of any rank with its shape: what models, checkpoints and start parameters are made of.
struct Array {
  std::vector<Index> shape;    // empty: a scalar
  std::vector<double> values;  // row-major
};

// Builds an HDF5 file in memory and saves it whole. Paths are '/'-separated; missing groups are made. Arrays are
// stored as float64 or int64, strings as UTF-8 of variable length; h5py reads all of it without Tally.
class ArchiveWriter {
 public:
  explicit ArchiveWriter(IoExecutor& io);
  ~ArchiveWriter();
  ArchiveWriter(ArchiveWriter&&) noexcept;
  ArchiveWriter& operator=(ArchiveWriter&&) noexcept;

  void put(std::string_view path, const Array& array);
  void put(std::string_view path, std::span<const std::int64_t> values);
  // Attributes of the group or array at `path` ("/" for the file).
  void attribute(std::string_view path, std::string_view name, std::string_view text);
  void attribute(std::string_view path, std::string_view name, double value);
  void attribute(std::string_view path, std::string_view name, std::int64_t value);

  // Writes to a temporary name beside `file`, flushes it to disk, renames it and syncs the folder: a kill at any
  // moment leaves the old file or the new one. The first 512 bytes (an HDF5 user block) hold the length and a
  // checksum of the rest. Throws DataError (no permission, disk full: the system's words) with nothing left behind.
  void save(const std::string& file) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Reads a file written by ArchiveWriter or by h5py. Where a user block with a checksum is present it is verified;
// damage is a DataError that says so.
class ArchiveReader {
 public:
  ArchiveReader(IoExecutor& io, const std::string& file);
  ~ArchiveReader();
  ArchiveReader(ArchiveReader&&) noexcept;
  ArchiveReader& operator=(ArchiveReader&&) noexcept;

  bool contains(std::string_view path) const;
  // Names in a group, sorted.
  std::vector<std::string> list(std::string_view group) const;
  // Any numeric array. Throws DataError where it is absent or not numeric.
  Array get(std::string_view path) const;
  std::vector<std::int64_t> get_integers(std::string_view path) const;
  std::optional<std::string> text_attribute(std::string_view path, std::string_view name) const;
  std::optional<double> number_attribute(std::string_view path, std::string_view name) const;
  std::optional<std::int64_t> integer_attribute(std::string_view path, std::string_view name) const;
  const std::string& file() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tally
