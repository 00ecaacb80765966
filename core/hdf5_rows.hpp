#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/rows.hpp"

namespace tally {

class IoExecutor;

// Splits "file.h5:/path" at the last ":/". Throws UsageError where there is none and says how to write it.
struct DatasetName {
  std::string file;
  std::string path;
};
DatasetName parse_dataset_name(const std::string& text);

// Rows that lie together in one data set of one file.
struct StoredRows {
  std::string name;  // FILE:/PATH
  Index first_row = 0, rows = 0;
  Index chunk_rows = 0;  // rows of a chunk; 0: stored contiguously
  Index row_bytes = 0;   // in the file, before compression
};

// Any numeric data set of one dimension (a column) or two, as rows. Several names act as one data set, end to end;
// the file part may be a glob, whose matches are taken in sorted order. A virtual data set must be made of whole rows; its
// files are opened when their rows are read.
// Throws DataError: missing file or data set, wrong rank or type, truncated or unreadable file, columns that differ.
class Hdf5Rows final : public RowSource {
 public:
  Hdf5Rows(IoExecutor& io, const std::vector<std::string>& names);
  ~Hdf5Rows() override;

  Index rows() const noexcept override;
  Index columns() const noexcept override;
  bool fits_float() const noexcept override;
  void read(Index first, Index count, double* out) const override;
  std::string where(Index row) const override;
  std::string name() const override;
  // Where the rows lie, in order.
  std::vector<StoredRows> parts() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Writes one data set of known size piece by piece, for predictions, samples and conversions. The file appears
// under its name only once `finish` has synced and renamed it; destroyed before that, it leaves nothing behind.
class Hdf5RowWriter {
 public:
  enum class Type { float32, float64, int64 };
  // `columns` 0 makes a one-dimensional data set. Throws DataError.
  Hdf5RowWriter(IoExecutor& io, const std::string& file, const std::string& path, Index rows, Index columns, Type type);
  ~Hdf5RowWriter();
  Hdf5RowWriter(Hdf5RowWriter&&) noexcept;
  Hdf5RowWriter& operator=(Hdf5RowWriter&&) noexcept;
  // Another data set in the same file; the writes that follow go to it.
  void next(const std::string& path, Index rows, Index columns, Type type);
  // Appends rows to the current data set.
  void append(const double* values, Index count);
  void append(const std::int64_t* values, Index count);
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tally
