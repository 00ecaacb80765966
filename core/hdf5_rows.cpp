#include "core/hdf5_rows.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <glob.h>
#include <sys/stat.h>

#include "core/durable_file.hpp"
#include "core/error.hpp"
#include "core/hdf5_handle.hpp"
#include "core/hdf5_virtual.hpp"
#include "core/io_executor.hpp"

namespace tally {
namespace {

// One H5Dread moves at most this much: some drivers fail at 2 GiB.
constexpr Index largest_read_bytes = Index{1} << 30;
// The most that the cache of decompressed chunks may take; smaller chunks take what a row of them needs.
constexpr std::size_t largest_chunk_cache_bytes = std::size_t{256} << 20;
constexpr std::size_t default_chunk_cache_bytes = std::size_t{1} << 20;

// Rows, and numbers in them: larger than any data, small enough for sums and products of them to be exact.
constexpr hsize_t most_numbers = hsize_t{1} << 53;

struct OpenDataset {
  Hdf5Handle file;
  Hdf5Handle dataset;
  std::int64_t file_bytes = 0;  // when it was opened
};

struct Layout {
  Index rows = 0;
  Index columns = 1;
  int rank = 2;
  bool fits_float = false;
  Index chunk_rows = 0;
  Index row_bytes = 0;
};

std::string dataset_name(const DatasetName& name) {
  return name.file + ":" + name.path;
}

// "it has 3 dimensions" and the like, or nothing where rows can be made of it.
std::optional<std::string> rank_problem(H5S_class_t kind, int rank) {
  if (kind == H5S_NULL) return "it is empty and has no shape";
  if (kind == H5S_SCALAR) return "it is a single number";
  if (rank != 1 && rank != 2) return "it has " + std::to_string(rank) + " dimensions";
  return std::nullopt;
}

std::optional<std::string> type_problem(H5T_class_t type) {
  switch (type) {
    case H5T_INTEGER:
    case H5T_FLOAT:
    case H5T_ENUM:
      return std::nullopt;
    case H5T_STRING:
      return "it holds strings";
    case H5T_COMPOUND:
      return "it holds records of several fields";
    case H5T_VLEN:
      return "it holds lists of varying length";
    case H5T_ARRAY:
      return "its elements are arrays";
    default:
      return "its elements are not numbers";
  }
}

bool type_fits_float(hid_t type) {
  if (H5Tget_class(type) != H5T_FLOAT) return H5Tget_precision(type) <= 16;
  std::size_t sign = 0, exponent_at = 0, exponent = 0, mantissa_at = 0, mantissa = 0;
  check_hdf5(H5Tget_fields(type, &sign, &exponent_at, &exponent, &mantissa_at, &mantissa),
             "a type cannot be read");
  return exponent <= 8 && mantissa <= 23;
}

Layout read_layout(hid_t dataset, const std::string& name) {
  const Hdf5Handle space(check_hdf5(H5Dget_space(dataset), name), H5Sclose);
  const Hdf5Handle type(check_hdf5(H5Dget_type(dataset), name), H5Tclose);
  Layout layout;
  layout.rank = check_hdf5(H5Sget_simple_extent_ndims(space.get()), name);
  if (const auto problem = rank_problem(H5Sget_simple_extent_type(space.get()), layout.rank))
    throw DataError(name + " cannot be read as rows: " + *problem + "; it must have one dimension or two");
  if (const auto problem = type_problem(H5Tget_class(type.get())))
    throw DataError(name + " cannot be read as rows: " + *problem +
                    "; it must hold floating-point numbers or integers");
  std::array<hsize_t, 2> shape{0, 1};
  check_hdf5(H5Sget_simple_extent_dims(space.get(), shape.data(), nullptr), name);
  if (shape[0] > most_numbers || shape[1] > most_numbers / std::max<hsize_t>(1, shape[0]))
    throw DataError(fmt::format("{} cannot be read as rows: it says that it has {} rows of {} columns, more than any data; the "
                                "file may be damaged, copy it again",
                                name, shape[0], shape[1]));
  layout.rows = static_cast<Index>(shape[0]);
  layout.columns = static_cast<Index>(shape[1]);
  layout.fits_float = type_fits_float(type.get());
  layout.row_bytes = layout.columns * static_cast<Index>(H5Tget_size(type.get()));
  const Hdf5Handle creation(check_hdf5(H5Dget_create_plist(dataset), name), H5Pclose);
  std::array<hsize_t, 2> chunk{0, 0};
  if (H5Pget_layout(creation.get()) == H5D_CHUNKED) check_hdf5(H5Pget_chunk(creation.get(), 2, chunk.data()), name);
  layout.chunk_rows = static_cast<Index>(chunk[0]);
  return layout;
}

// What one row of chunks takes decompressed, so that no chunk is decompressed twice by readers who go in order.
std::size_t chunk_cache_bytes(hid_t dataset, const std::string& name) {
  const Hdf5Handle creation(check_hdf5(H5Dget_create_plist(dataset), name), H5Pclose);
  if (H5Pget_layout(creation.get()) != H5D_CHUNKED) return default_chunk_cache_bytes;
  const Hdf5Handle type(check_hdf5(H5Dget_type(dataset), name), H5Tclose);
  const Hdf5Handle space(check_hdf5(H5Dget_space(dataset), name), H5Sclose);
  std::array<hsize_t, 2> chunk{1, 1};
  std::array<hsize_t, 2> shape{0, 1};
  check_hdf5(H5Pget_chunk(creation.get(), 2, chunk.data()), name);
  check_hdf5(H5Sget_simple_extent_dims(space.get(), shape.data(), nullptr), name);
  const auto chunks_across = (shape[1] + chunk[1] - 1) / std::max<hsize_t>(1, chunk[1]);
  const double bytes = static_cast<double>(chunk[0]) * static_cast<double>(chunk[1]) *
                       static_cast<double>(chunks_across) * static_cast<double>(H5Tget_size(type.get()));
  return static_cast<std::size_t>(std::clamp(bytes, static_cast<double>(default_chunk_cache_bytes),
                                             static_cast<double>(largest_chunk_cache_bytes)));
}

[[noreturn]] void throw_missing(hid_t file, const DatasetName& name) {
  throw DataError(name.file + " has no data set " + name.path + "; " + hdf5_contents(file));
}

OpenDataset open_dataset(const DatasetName& name) {
  OpenDataset opened;
  opened.file = open_hdf5(name.file);
  opened.file_bytes = hdf5_file_bytes(opened.file.get());
  const auto text = dataset_name(name);
  if (!hdf5_contains(opened.file.get(), name.path)) throw_missing(opened.file.get(), name);
  Hdf5Handle object(
      check_hdf5(H5Oopen(opened.file.get(), name.path.c_str(), H5P_DEFAULT), text + " cannot be opened"),
      H5Oclose);
  const auto type = H5Iget_type(object.get());
  if (type == H5I_GROUP)
    throw DataError(text + " is a group, not a data set; " + hdf5_contents(opened.file.get()));
  if (type != H5I_DATASET) throw DataError(text + " is not a data set; " + hdf5_contents(opened.file.get()));
  read_layout(object.get(), text);
  const auto cache = chunk_cache_bytes(object.get(), text);
  object.reset();
  const Hdf5Handle access(check_hdf5(H5Pcreate(H5P_DATASET_ACCESS), text), H5Pclose);
  constexpr std::size_t slots = 10007;  // a prime, many times the number of chunks held
  check_hdf5(H5Pset_chunk_cache(access.get(), slots, cache, H5D_CHUNK_CACHE_W0_DEFAULT), text);
  opened.dataset = Hdf5Handle(
      check_hdf5(H5Dopen2(opened.file.get(), name.path.c_str(), access.get()), text + " cannot be opened"),
      H5Dclose);
  return opened;
}

bool exists(const std::string& file) {
  struct stat info {};
  return stat(file.c_str(), &info) == 0;
}

// The files that a name with wildcards means, in byte order: glob's own order depends on the locale.
std::vector<std::string> expand(const std::string& file) {
  if (file.find_first_of("*?[") == std::string::npos || exists(file)) return {file};
  glob_t found{};
  const int status = glob(file.c_str(), GLOB_NOSORT, nullptr, &found);
  std::vector<std::string> files(found.gl_pathv, found.gl_pathv + (status == 0 ? found.gl_pathc : 0));
  globfree(&found);
  if (files.empty()) throw DataError(file + " matches no file");
  std::sort(files.begin(), files.end());
  return files;
}

std::string reading_advice(const std::string& words) {
  if (words.find("not registered") != std::string::npos)
    return "; HDF5 here lacks that filter: rewrite the file with `h5repack -f GZIP=4`";
  return "; the file may be damaged, copy it again";
}

}  // namespace

DatasetName parse_dataset_name(const std::string& text) {
  const auto split = text.rfind(":/");
  if (split == std::string::npos || split == 0 || split + 2 == text.size()) {
    const auto file = text.substr(0, std::min(split, text.find_last_not_of(":/") + 1));
    throw UsageError("'" + text + "' names no data set; write it as " + (file.empty() ? "file.h5" : file) +
                     ":/name");
  }
  return {text.substr(0, split), text.substr(split + 1)};
}

struct Hdf5Rows::Impl {
  // Rows of a data set.
  struct Part {
    DatasetName name;
    Layout layout;
    Index first = 0;      // its first row among all
    Index first_row = 0;  // in its data set
    Index rows = 0;
    bool whole_dataset = true;
    std::string known_as;  // "rows 8 to 15 of all.h5:/x" where a virtual data set leads here
  };

  Impl(IoExecutor& executor, const std::vector<std::string>& names);
  ~Impl();
  void add(const DatasetName& name);
  void add_virtual(const DatasetName& name, hid_t dataset, const Layout& layout);
  const Part& part_of(Index row) const;
  void read(Index first, Index count, double* out);
  void open(const Part& part);
  void read_piece(const Part& part, Index first, Index count, double* out);

  IoExecutor& io;
  std::vector<Part> parts;
  std::string title;
  Index rows = 0;
  Index columns = 0;
  bool fits_float = true;
  // Readers go through the parts in order, so the one in use is enough to keep open.
  OpenDataset current;
  const Part* current_part = nullptr;
};

Hdf5Rows::Impl::Impl(IoExecutor& executor, const std::vector<std::string>& names) : io(executor) {
  if (names.empty()) throw UsageError("no data set is named; write one as file.h5:/name");
  for (const auto& text : names) {
    const auto name = parse_dataset_name(text);
    for (const auto& file : expand(name.file)) io.run([&] { add({file, name.path}); });
  }
  title = names.front();
  if (names.size() > 1) title += " and " + std::to_string(names.size() - 1) + " more";
}

Hdf5Rows::Impl::~Impl() {
  try {
    io.run([this] {
      current.dataset.reset();
      current.file.reset();
    });
  } catch (...) {  // no memory to queue the job: the process is ending anyway
  }
}

void Hdf5Rows::Impl::add(const DatasetName& name) {
  auto opened = open_dataset(name);
  const Layout layout = read_layout(opened.dataset.get(), dataset_name(name));
  if (parts.empty()) {
    columns = layout.columns;
  } else if (layout.columns != columns) {
    throw DataError(dataset_name(name) + " has " + std::to_string(layout.columns) + " columns but " +
                    dataset_name(parts.front().name) + " has " + std::to_string(columns) +
                    "; the parts of a data set must have the same columns");
  }
  if (layout.rows > static_cast<Index>(most_numbers) - rows)
    throw DataError(dataset_name(name) + " and those before it have more rows than any data");
  if (is_virtual(opened.dataset.get())) add_virtual(name, opened.dataset.get(), layout);
  else parts.push_back({name, layout, rows, 0, layout.rows, true, ""});
  rows += layout.rows;
  fits_float = fits_float && layout.fits_float;
}

// Its files are opened only when their rows are read: on node-local disks each host has its own.
void Hdf5Rows::Impl::add_virtual(const DatasetName& name, hid_t dataset, const Layout& layout) {
  const std::string whole = dataset_name(name);
  for (const VirtualPart& part : virtual_parts(dataset, name.file, whole))
    parts.push_back({{part.file, part.path}, layout, rows + part.first_row, part.source_row, part.rows, part.whole_source,
                     fmt::format("rows {} to {} of {}", part.first_row, part.first_row + part.rows - 1, whole)});
}

const Hdf5Rows::Impl::Part& Hdf5Rows::Impl::part_of(Index row) const {
  const auto after = std::upper_bound(parts.begin(), parts.end(), row,
                                      [](Index value, const Part& part) { return value < part.first; });
  return after == parts.begin() ? parts.front() : *std::prev(after);
}

void Hdf5Rows::Impl::read(Index first, Index count, double* out) {
  if (first < 0 || count < 0 || first > rows - count)
    throw UsageError(std::to_string(count) + " rows from row " + std::to_string(first) + " were asked of " +
                     title + ", which has " + std::to_string(rows));
  if (columns == 0) return;
  const Index largest = std::max<Index>(1, largest_read_bytes / static_cast<Index>(sizeof(double)) / columns);
  while (count > 0) {
    const auto& part = part_of(first);
    const Index here = std::min({count, largest, part.first + part.rows - first});
    read_piece(part, part.first_row + first - part.first, here, out);
    first += here;
    count -= here;
    out += here * columns;
  }
}

void Hdf5Rows::Impl::open(const Part& part) {
  current_part = nullptr;
  current.dataset.reset();
  current.file.reset();
  try {
    current = open_dataset(part.name);
  } catch (const DataError& error) {
    if (part.known_as.empty()) throw;
    throw DataError(fmt::format("{}; {} are in it", error.what(), part.known_as));
  }
  const auto name = dataset_name(part.name);
  const auto now = read_layout(current.dataset.get(), name);
  const bool has_rows = part.whole_dataset ? now.rows == part.rows : now.rows >= part.first_row + part.rows;
  if (part.known_as.empty()) {
    if (!has_rows || now.columns != part.layout.columns)
      throw DataError(name + " changed its shape while it was being read");
  } else {
    if (is_virtual(current.dataset.get()))
      throw DataError(name + " is virtual itself and cannot hold " + part.known_as);
    if (!has_rows || now.columns != part.layout.columns)
      throw DataError(fmt::format("{} has {} rows of {} columns and cannot hold {}", name, now.rows, now.columns, part.known_as));
    if (part.layout.fits_float && !now.fits_float)
      throw DataError(fmt::format("{} holds larger numbers than {} are said to be", name, part.known_as));
  }
  current_part = &part;
}

void Hdf5Rows::Impl::read_piece(const Part& part, Index first, Index count, double* out) {
  const auto name = dataset_name(part.name);
  if (current_part != &part) open(part);
  const std::array<hsize_t, 2> start{static_cast<hsize_t>(first), 0};
  const std::array<hsize_t, 2> shape{static_cast<hsize_t>(count), static_cast<hsize_t>(columns)};
  const Hdf5Handle file_space(check_hdf5(H5Dget_space(current.dataset.get()), name), H5Sclose);
  check_hdf5(
      H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr, shape.data(), nullptr),
      name);
  const Hdf5Handle memory_space(check_hdf5(H5Screate_simple(part.layout.rank, shape.data(), nullptr), name),
                                H5Sclose);
  if (H5Dread(current.dataset.get(), H5T_NATIVE_DOUBLE, memory_space.get(), file_space.get(), H5P_DEFAULT,
              out) < 0) {
    const auto words = hdf5_error_words();
    throw DataError(name + " rows " + std::to_string(first) + " to " + std::to_string(first + count - 1) +
                    " cannot be read: " + words + reading_advice(words));
  }
  // HDF5 reads zeros past the end of a file.
  if (const std::int64_t bytes = hdf5_file_bytes(current.file.get()); bytes < current.file_bytes)
    throw DataError(fmt::format("{} was cut short while it was being read: it has {} bytes and had {}", part.name.file, bytes,
                                current.file_bytes));
}

Hdf5Rows::Hdf5Rows(IoExecutor& io, const std::vector<std::string>& names)
    : impl_(std::make_unique<Impl>(io, names)) {}
Hdf5Rows::~Hdf5Rows() = default;

Index Hdf5Rows::rows() const noexcept {
  return impl_->rows;
}
Index Hdf5Rows::columns() const noexcept {
  return impl_->columns;
}
bool Hdf5Rows::fits_float() const noexcept {
  return impl_->fits_float;
}

void Hdf5Rows::read(Index first, Index count, double* out) const {
  impl_->io.run([&] { impl_->read(first, count, out); });
}

std::string Hdf5Rows::where(Index row) const {
  const auto& part = impl_->part_of(row);
  return dataset_name(part.name) + " row " + std::to_string(part.first_row + row - part.first);
}

std::string Hdf5Rows::name() const {
  return impl_->title;
}

std::vector<StoredRows> Hdf5Rows::parts() const {
  std::vector<StoredRows> parts;
  for (const Impl::Part& part : impl_->parts)
    parts.push_back({dataset_name(part.name), part.first, part.rows, part.layout.chunk_rows, part.layout.row_bytes});
  return parts;
}

namespace {

hid_t stored_type(Hdf5RowWriter::Type type) {
  switch (type) {
    case Hdf5RowWriter::Type::float32:
      return H5T_NATIVE_FLOAT;
    case Hdf5RowWriter::Type::float64:
      return H5T_NATIVE_DOUBLE;
    case Hdf5RowWriter::Type::int64:
      break;
  }
  return H5T_NATIVE_INT64;
}

Index stored_bytes(Hdf5RowWriter::Type type) {
  return type == Hdf5RowWriter::Type::float32 ? 4 : 8;
}

Hdf5Handle creation_properties(const std::string& name) {
  Hdf5Handle creation(check_hdf5(H5Pcreate(H5P_DATASET_CREATE), name), H5Pclose);
  check_hdf5(H5Pset_layout(creation.get(), H5D_CONTIGUOUS), name);
  check_hdf5(H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY), name);
  check_hdf5(H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER), name);
  check_hdf5(H5Pset_obj_track_times(creation.get(), false), name);  // the same data, the same bytes
  return creation;
}

template <class To, class From>
To converted(From value, const std::string& name) {
  if constexpr (std::is_same_v<To, std::int64_t> && std::is_same_v<From, double>) {
    constexpr double limit = 9223372036854775808.0;  // 2^63
    if (!(value >= -limit && value < limit) || value != std::trunc(value))
      throw DataError(name + " holds 64-bit integers and cannot take " + std::to_string(value));
  }
  return static_cast<To>(value);
}

}  // namespace

// HDF5 writes only its own few hundred bytes and says where a data set's numbers go; they are written past it. So
// every error of the disk is the system's own, and HDF5 never holds a file that it cannot flush.
struct Hdf5RowWriter::Impl {
  Impl(IoExecutor& executor, const std::string& target) : io(executor), file(target) {
    file.write(io.run([] { return hdf5_image(hdf5_file_in_memory().get()); }), 0);
  }
  void create(const std::string& dataset_path, Index row_count, Index column_count, Type element);
  void require_complete() const;
  template <class Value>
  void append(const Value* values, Index count);
  template <class Stored, class Value>
  void write(const Value* values, Index count);

  IoExecutor& io;
  DurableFile file;
  std::string name;  // "out.h5:/labels"
  Type type = Type::float64;
  Index rows = 0;
  Index width = 1;  // elements in a row
  Index appended = 0;
  Index offset = 0;  // where the data set's next number goes in the file
  std::vector<std::byte> buffer;
};

void Hdf5RowWriter::Impl::create(const std::string& dataset_path, Index row_count, Index column_count,
                                 Type element) {
  name = file.target() + ":" + dataset_path;
  if (row_count < 0 || column_count < 0)
    throw UsageError(name + " cannot have a negative number of rows or columns");
  type = element;
  rows = row_count;
  width = std::max<Index>(1, column_count);
  appended = 0;
  constexpr Index room_for_metadata = Index{64} << 10;
  constexpr Index largest = std::numeric_limits<Index>::max() / 16;
  const Index size = file.size();
  if (rows > 0 && width > largest / stored_bytes(type) / rows)
    throw UsageError(name + " would be too large for any file");
  // Blocks that are on the disk already take HDF5's own bytes, and a limit on the file's size is met here, not in HDF5.
  const std::vector<std::byte> zeros(static_cast<std::size_t>(room_for_metadata));
  file.write(zeros, size);
  file.resize(size + room_for_metadata + rows * width * stored_bytes(type));

  const std::array<hsize_t, 2> shape{static_cast<hsize_t>(rows), static_cast<hsize_t>(width)};
  haddr_t address = HADDR_UNDEF;
  io.run([&] {
    const auto problem = name + " cannot be created";
    const auto access = hdf5_file_access();
    Hdf5Handle opened(check_hdf5(H5Fopen(file.temporary().c_str(), H5F_ACC_RDWR, access.get()), problem),
                      H5Fclose);
    const auto creation = creation_properties(problem);
    const Hdf5Handle links(check_hdf5(H5Pcreate(H5P_LINK_CREATE), problem), H5Pclose);
    check_hdf5(H5Pset_create_intermediate_group(links.get(), 1), problem);
    const Hdf5Handle space(
        check_hdf5(H5Screate_simple(column_count == 0 ? 1 : 2, shape.data(), nullptr), problem), H5Sclose);
    Hdf5Handle dataset(check_hdf5(H5Dcreate2(opened.get(), dataset_path.c_str(), stored_type(type),
                                             space.get(), links.get(), creation.get(), H5P_DEFAULT),
                                  problem),
                       H5Dclose);
    address = H5Dget_offset(dataset.get());
    dataset.close(problem);
    opened.close(problem);
  });
  const bool holds_nothing = rows == 0;
  if (address == HADDR_UNDEF && !holds_nothing)
    throw DataError(name + " cannot be created: HDF5 gave it no place");
  offset = holds_nothing ? 0 : static_cast<Index>(address);
  file.reserve(file.size());
}

void Hdf5RowWriter::Impl::require_complete() const {
  if (appended != rows)
    throw Error(name + " was announced with " + std::to_string(rows) + " rows and got " +
                std::to_string(appended));
}

template <class Value>
void Hdf5RowWriter::Impl::append(const Value* values, Index count) {
  if (count < 0 || count > rows - appended)
    throw Error(name + " was announced with " + std::to_string(rows) + " rows and got more");
  switch (type) {
    case Type::float32:
      write<float>(values, count * width);
      break;
    case Type::float64:
      write<double>(values, count * width);
      break;
    case Type::int64:
      write<std::int64_t>(values, count * width);
      break;
  }
  appended += count;
}

template <class Stored, class Value>
void Hdf5RowWriter::Impl::write(const Value* values, Index count) {
  if constexpr (std::is_same_v<Stored, Value>) {
    file.write(std::as_bytes(std::span(values, static_cast<std::size_t>(count))), offset);
    offset += count * static_cast<Index>(sizeof(Stored));
  } else {
    constexpr Index piece = Index{1} << 17;
    for (Index done = 0; done < count; done += piece) {
      const Index here = std::min(piece, count - done);
      buffer.resize(static_cast<std::size_t>(here) * sizeof(Stored));
      for (Index i = 0; i < here; ++i) {
        const auto stored = converted<Stored>(values[done + i], name);
        std::memcpy(buffer.data() + static_cast<std::size_t>(i) * sizeof(Stored), &stored, sizeof stored);
      }
      file.write(buffer, offset);
      offset += static_cast<Index>(buffer.size());
    }
  }
}

Hdf5RowWriter::Hdf5RowWriter(IoExecutor& io, const std::string& file, const std::string& path, Index rows,
                             Index columns, Type type)
    : impl_(std::make_unique<Impl>(io, file)) {
  impl_->create(path, rows, columns, type);
}
Hdf5RowWriter::~Hdf5RowWriter() = default;
Hdf5RowWriter::Hdf5RowWriter(Hdf5RowWriter&&) noexcept = default;
Hdf5RowWriter& Hdf5RowWriter::operator=(Hdf5RowWriter&&) noexcept = default;

void Hdf5RowWriter::next(const std::string& path, Index rows, Index columns, Type type) {
  impl_->require_complete();
  impl_->create(path, rows, columns, type);
}

void Hdf5RowWriter::append(const double* values, Index count) {
  impl_->append(values, count);
}
void Hdf5RowWriter::append(const std::int64_t* values, Index count) {
  impl_->append(values, count);
}

void Hdf5RowWriter::finish() {
  impl_->require_complete();
  impl_->file.commit();
}

}  // namespace tally
