#include "core/archive.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/archive_damage.hpp"
#include "core/durable_file.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/hdf5_handle.hpp"
#include "core/io_executor.hpp"

namespace tally {
namespace {

// The user block is text: "tally archive 1 length=N hash=HEX\n", then zeros; both are of the bytes after the block.
constexpr std::size_t user_block_bytes = 512;
constexpr std::string_view user_block_start = "tally archive ";

std::string user_block_line(std::span<const std::byte> rest) {
  char line[128];
  std::snprintf(line, sizeof line, "tally archive 1 length=%zu hash=%016llx\n", rest.size(),
                static_cast<unsigned long long>(hash_bytes(rest, 0)));
  return line;
}

// "/a/b" of "a/b", "/a/b/" and "/a/b".
std::string absolute(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  while (path.starts_with('/')) path.remove_prefix(1);
  return "/" + std::string(path);
}

// The HDF5 side of a file that is being built; used on the executor's thread only.
class MemoryFile {
 public:
  MemoryFile();
  void put(const std::string& path, std::span<const hsize_t> shape, hid_t type, const void* values);
  void attribute(const std::string& path, const std::string& name, hid_t type, const void* value);
  void attribute(const std::string& path, const std::string& name, const std::string& text);
  // User block included.
  std::vector<std::byte> image() const;

 private:
  void make_group(const std::string& path);

  Hdf5Handle file_;
  Hdf5Handle links_;  // makes missing groups
};

MemoryFile::MemoryFile() {
  const std::string problem = "an archive cannot be started";
  const Hdf5Handle access(check_hdf5(H5Pcreate(H5P_FILE_ACCESS), problem), H5Pclose);
  constexpr std::size_t growth = std::size_t{1} << 16;
  check_hdf5(H5Pset_fapl_core(access.get(), growth, false), problem);
  const Hdf5Handle creation(check_hdf5(H5Pcreate(H5P_FILE_CREATE), problem), H5Pclose);
  check_hdf5(H5Pset_userblock(creation.get(), user_block_bytes), problem);
  static std::atomic<int> made = 0;  // HDF5 refuses a second file of a name that is open, in memory too
  const std::string name = "archive " + std::to_string(made++);
  file_ = Hdf5Handle(check_hdf5(H5Fcreate(name.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), problem),
                     H5Fclose);
  links_ = Hdf5Handle(check_hdf5(H5Pcreate(H5P_LINK_CREATE), problem), H5Pclose);
  check_hdf5(H5Pset_create_intermediate_group(links_.get(), 1), problem);
}

void MemoryFile::put(const std::string& path, std::span<const hsize_t> shape, hid_t type,
                     const void* values) {
  const auto problem = "the archive cannot take " + path;
  if (hdf5_contains(file_.get(), path)) throw UsageError("the archive has " + path + " already");
  const Hdf5Handle creation(check_hdf5(H5Pcreate(H5P_DATASET_CREATE), problem), H5Pclose);
  check_hdf5(H5Pset_obj_track_times(creation.get(), false), problem);  // the same content, the same bytes
  const Hdf5Handle space(
      check_hdf5(shape.empty() ? H5Screate(H5S_SCALAR)
                               : H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
                 problem),
      H5Sclose);
  const Hdf5Handle dataset(check_hdf5(H5Dcreate2(file_.get(), path.c_str(), type, space.get(), links_.get(),
                                                 creation.get(), H5P_DEFAULT),
                                      problem),
                           H5Dclose);
  if (std::find(shape.begin(), shape.end(), hsize_t{0}) == shape.end())
    check_hdf5(H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), problem);
}

void MemoryFile::make_group(const std::string& path) {
  if (path == "/" || hdf5_contains(file_.get(), path)) return;
  const Hdf5Handle group(
      check_hdf5(H5Gcreate2(file_.get(), path.c_str(), links_.get(), H5P_DEFAULT, H5P_DEFAULT),
                 "the archive cannot take the group " + path),
      H5Gclose);
}

void MemoryFile::attribute(const std::string& path, const std::string& name, hid_t type, const void* value) {
  const auto problem = "the archive cannot take the attribute " + name + " of " + path;
  make_group(path);
  const Hdf5Handle object(check_hdf5(H5Oopen(file_.get(), path.c_str(), H5P_DEFAULT), problem), H5Oclose);
  if (check_hdf5(H5Aexists(object.get(), name.c_str()), problem) > 0)
    check_hdf5(H5Adelete(object.get(), name.c_str()), problem);
  const Hdf5Handle space(check_hdf5(H5Screate(H5S_SCALAR), problem), H5Sclose);
  const Hdf5Handle attribute(
      check_hdf5(H5Acreate2(object.get(), name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT),
                 problem),
      H5Aclose);
  check_hdf5(H5Awrite(attribute.get(), type, value), problem);
}

Hdf5Handle utf8_text_type(std::size_t size) {
  Hdf5Handle type(check_hdf5(H5Tcopy(H5T_C_S1), "a text type"), H5Tclose);
  check_hdf5(H5Tset_size(type.get(), size), "a text type");
  check_hdf5(H5Tset_cset(type.get(), H5T_CSET_UTF8), "a text type");
  return type;
}

void MemoryFile::attribute(const std::string& path, const std::string& name, const std::string& text) {
  const auto type = utf8_text_type(H5T_VARIABLE);
  const char* value = text.c_str();
  attribute(path, name, type.get(), &value);
}

std::vector<std::byte> MemoryFile::image() const {
  const std::string problem = "the archive cannot be finished";
  check_hdf5(H5Fflush(file_.get(), H5F_SCOPE_GLOBAL), problem);
  const auto size = static_cast<std::size_t>(check_hdf5(H5Fget_file_image(file_.get(), nullptr, 0), problem));
  // Libraries differ in whether the image begins with the user block.
  std::vector<std::byte> image(user_block_bytes + size);
  const auto hdf5 = std::span(image).subspan(user_block_bytes);
  check_hdf5(H5Fget_file_image(file_.get(), hdf5.data(), hdf5.size()), problem);
  static constexpr std::array<unsigned char, 4> signature{0x89, 'H', 'D', 'F'};
  if (std::memcmp(hdf5.data(), signature.data(), signature.size()) != 0)
    image.erase(image.begin(), image.begin() + user_block_bytes);
  std::fill_n(image.begin(), user_block_bytes, std::byte{0});
  const auto line = user_block_line(std::span(image).subspan(user_block_bytes));
  std::memcpy(image.data(), line.data(), line.size());
  return image;
}

}  // namespace

struct ArchiveWriter::Impl {
  explicit Impl(IoExecutor& executor) : io(executor) {
    io.run([this] { file.emplace(); });
  }
  ~Impl() {
    try {
      io.run([this] { file.reset(); });
    } catch (...) {  // no memory to queue the job: the process is ending anyway
    }
  }

  IoExecutor& io;
  std::optional<MemoryFile> file;
};

ArchiveWriter::ArchiveWriter(IoExecutor& io) : impl_(std::make_unique<Impl>(io)) {}
ArchiveWriter::~ArchiveWriter() = default;
ArchiveWriter::ArchiveWriter(ArchiveWriter&&) noexcept = default;
ArchiveWriter& ArchiveWriter::operator=(ArchiveWriter&&) noexcept = default;

void ArchiveWriter::put(std::string_view path, const Array& array) {
  std::size_t elements = 1;
  for (const Index extent : array.shape) elements *= static_cast<std::size_t>(extent);
  if (elements != array.values.size())
    throw UsageError(absolute(path) + " has " + std::to_string(array.values.size()) +
                     " values but a shape for " + std::to_string(elements));
  const std::vector<hsize_t> shape(array.shape.begin(), array.shape.end());
  impl_->io.run([&] { impl_->file->put(absolute(path), shape, H5T_NATIVE_DOUBLE, array.values.data()); });
}

void ArchiveWriter::put(std::string_view path, std::span<const std::int64_t> values) {
  const std::array<hsize_t, 1> shape{values.size()};
  impl_->io.run([&] { impl_->file->put(absolute(path), shape, H5T_NATIVE_INT64, values.data()); });
}

void ArchiveWriter::attribute(std::string_view path, std::string_view name, std::string_view text) {
  impl_->io.run([&] { impl_->file->attribute(absolute(path), std::string(name), std::string(text)); });
}

void ArchiveWriter::attribute(std::string_view path, std::string_view name, double value) {
  impl_->io.run(
      [&] { impl_->file->attribute(absolute(path), std::string(name), H5T_NATIVE_DOUBLE, &value); });
}

void ArchiveWriter::attribute(std::string_view path, std::string_view name, std::int64_t value) {
  impl_->io.run([&] { impl_->file->attribute(absolute(path), std::string(name), H5T_NATIVE_INT64, &value); });
}

void ArchiveWriter::save(const std::string& file) const {
  const auto image = impl_->io.run([this] { return impl_->file->image(); });
  write_file_durably(file, image);
}

namespace {

// A file that is read from its beginning. Its errors are DataErrors with the system's words.
class InputFile {
 public:
  explicit InputFile(const std::string& name) : name_(name), descriptor_(open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (descriptor_ < 0 && errno == ENOENT) throw DataError(name_ + " does not exist");
    if (descriptor_ < 0) fail();
  }
  ~InputFile() { close(descriptor_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::size_t size() const {
    struct stat info {};
    if (fstat(descriptor_, &info) != 0) fail();
    return static_cast<std::size_t>(info.st_size);
  }

  // So many bytes, or as many as there are.
  std::vector<std::byte> read(std::size_t most) const {
    std::vector<std::byte> bytes(most);
    std::size_t filled = 0;
    while (filled < most) {
      const ssize_t count = pread(descriptor_, bytes.data() + filled, most - filled, static_cast<off_t>(filled));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail();
      if (count == 0) break;
      filled += static_cast<std::size_t>(count);
    }
    bytes.resize(filled);
    return bytes;
  }

 private:
  [[noreturn]] void fail() const {
    throw DataError(name_ + " cannot be read: " + std::generic_category().message(errno));
  }

  std::string name_;
  int descriptor_;
};

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The whole file where it begins with Tally's user block, else nothing.
std::optional<std::vector<std::byte>> read_checked_image(const std::string& name) {
  const InputFile input(name);
  if (!text_of(input.read(user_block_start.size())).starts_with(user_block_start)) return std::nullopt;
  std::vector<std::byte> image = input.read(input.size());
  const std::size_t size = image.size();
  const std::string_view text = text_of(image).substr(0, user_block_bytes);
  if (!text.substr(user_block_start.size()).starts_with("1 "))
    throw DataError(name + " was written by a newer Tally, or its first line is damaged");
  const auto rest =
      size > user_block_bytes ? std::span(image).subspan(user_block_bytes) : std::span<std::byte>{};
  const auto expected = user_block_line(rest);
  if (text.starts_with(expected)) return image;
  std::size_t length = 0;
  const auto at = text.find("length=");
  if (at != std::string_view::npos) std::from_chars(text.data() + at + 7, text.data() + text.size(), length);
  if (length != rest.size())
    throw DamageError(name + " is damaged (its length is " + std::to_string(size) + " bytes and should be " +
                      std::to_string(length + user_block_bytes) + "); use another copy");
  throw DamageError(name + " is damaged (checksum differs); use another copy");
}

Hdf5Handle open_image(const std::string& file, std::vector<std::byte> image) {
  const auto problem = file + " cannot be opened";
  const Hdf5Handle access(check_hdf5(H5Pcreate(H5P_FILE_ACCESS), problem), H5Pclose);
  check_hdf5(H5Pset_fapl_core(access.get(), std::size_t{1} << 16, false), problem);
  check_hdf5(H5Pset_file_image(access.get(), image.data(), image.size()), problem);
  image = {};
  const auto name = file + "/image";  // HDF5 insists on a name that no file has
  return {check_hdf5(H5Fopen(name.c_str(), H5F_ACC_RDONLY, access.get()), problem), H5Fclose};
}

// Where there is a checksum, HDF5 sees only bytes that have passed it: damage can crash the library.
Hdf5Handle open_archive(const std::string& file) {
  auto image = read_checked_image(file);
  return image ? open_image(file, std::move(*image)) : open_hdf5(file);
}

bool is_number(H5T_class_t type) {
  return type == H5T_INTEGER || type == H5T_FLOAT || type == H5T_ENUM;
}

// What a data set or attribute holds.
struct Description {
  std::vector<Index> shape;
  H5T_class_t type = H5T_NO_CLASS;
  bool empty = false;  // without a shape

  // As a double, which does not overflow.
  double elements() const {
    double count = 1;
    for (const Index extent : shape) count *= static_cast<double>(static_cast<hsize_t>(extent));
    return count;
  }
};

// Throws DataError where an array is far larger than what the file stores of it: what was never written takes no room, so
// that any size can be announced.
void require_stored(hid_t dataset, const Description& found, const std::string& problem) {
  constexpr double always_taken = 64 << 20, largest_compression = 1 << 14;  // gzip comes to 1032
  const double bytes = found.elements() * sizeof(double), stored = static_cast<double>(H5Dget_storage_size(dataset));
  if (bytes > always_taken && bytes > stored * largest_compression)
    throw DataError(fmt::format("{}: it says that it has {:.0f} numbers, and {:.0f} bytes are stored", problem,
                                found.elements(), stored));
}

Description describe(hid_t space, hid_t type, const std::string& problem) {
  Description description;
  description.type = H5Tget_class(type);
  description.empty = H5Sget_simple_extent_type(space) == H5S_NULL;
  std::vector<hsize_t> shape(
      static_cast<std::size_t>(check_hdf5(H5Sget_simple_extent_ndims(space), problem)));
  if (!shape.empty()) check_hdf5(H5Sget_simple_extent_dims(space, shape.data(), nullptr), problem);
  description.shape.assign(shape.begin(), shape.end());
  return description;
}

template <class T>
hid_t memory_type();
template <>
hid_t memory_type<double>() {
  return H5T_NATIVE_DOUBLE;
}
template <>
hid_t memory_type<std::int64_t>() {
  return H5T_NATIVE_INT64;
}

std::int64_t exact_integer(double value, const std::string& name) {
  constexpr double limit = 9007199254740992.0;  // 2^53: beyond it a double is no reliable integer
  if (!(std::fabs(value) <= limit) || value != std::trunc(value))
    throw DataError(name + " holds " + std::to_string(value) + " where an integer is needed");
  return static_cast<std::int64_t>(value);
}

// Fixed and variable lengths alike. `type` is the attribute's own.
std::string read_text(hid_t attribute, hid_t type, const std::string& problem) {
  constexpr std::size_t longest = std::size_t{1} << 20;
  const auto variable = check_hdf5(H5Tis_variable_str(type), problem);
  if (variable == 0 && H5Tget_size(type) > longest) throw DataError(problem + ": it is longer than any text of Tally's");
  const auto memory = utf8_text_type(variable > 0 ? H5T_VARIABLE : H5Tget_size(type) + 1);
  check_hdf5(H5Tset_cset(memory.get(), H5Tget_cset(type)), problem);
  if (variable == 0) {
    std::string text(H5Tget_size(memory.get()), '\0');
    check_hdf5(H5Aread(attribute, memory.get(), text.data()), problem);
    return text.c_str();
  }
  char* text = nullptr;
  check_hdf5(H5Aread(attribute, memory.get(), static_cast<void*>(&text)), problem);
  std::string copy = text ? text : "";
  H5free_memory(text);
  return copy;
}

}  // namespace

bool has_checksum(const std::string& file) {
  return text_of(InputFile(file).read(user_block_start.size())) == user_block_start;
}

struct ArchiveReader::Impl {
  Impl(IoExecutor& executor, const std::string& name) : io(executor), file_name(name) {
    io.run([this] { file = open_archive(file_name); });
  }
  ~Impl() {
    try {
      io.run([this] { file.reset(); });
    } catch (...) {  // no memory to queue the job: the process is ending anyway
    }
  }

  std::string title(const std::string& path) const { return file_name + ":" + path; }

  template <class Use>
  auto with_array(std::string_view relative, Use use) const;
  template <class Use>
  bool with_attribute(std::string_view relative, std::string_view name, Use use) const;
  template <class T>
  std::vector<T> read(hid_t dataset, const Description& found, const std::string& problem) const;

  IoExecutor& io;
  std::string file_name;
  Hdf5Handle file;
};

// Runs use(data set, description, message) for the numeric array at a path.
template <class Use>
auto ArchiveReader::Impl::with_array(std::string_view relative, Use use) const {
  return io.run([&] {
    const auto path = absolute(relative);
    if (path == "/" || !hdf5_contains(file.get(), path))
      throw DataError(file_name + " has no array " + path + "; " + hdf5_contents(file.get()));
    const auto problem = title(path) + " cannot be read";
    const Hdf5Handle object(check_hdf5(H5Oopen(file.get(), path.c_str(), H5P_DEFAULT), problem), H5Oclose);
    if (H5Iget_type(object.get()) != H5I_DATASET)
      throw DataError(title(path) + " is a group, not an array; " + hdf5_contents(file.get()));
    const Hdf5Handle space(check_hdf5(H5Dget_space(object.get()), problem), H5Sclose);
    const Hdf5Handle type(check_hdf5(H5Dget_type(object.get()), problem), H5Tclose);
    const auto found = describe(space.get(), type.get(), problem);
    if (found.empty || !is_number(found.type)) throw DataError(title(path) + " does not hold numbers");
    return use(object.get(), found, problem);
  });
}

// Runs use(attribute, type, description, message) for an attribute of one element; false where there is none.
template <class Use>
bool ArchiveReader::Impl::with_attribute(std::string_view relative, std::string_view name, Use use) const {
  return io.run([&] {
    const auto path = absolute(relative);
    const std::string attribute_name(name);
    if (path != "/" && !hdf5_contains(file.get(), path)) return false;
    const auto problem = "attribute " + attribute_name + " of " + title(path) + " cannot be read";
    if (check_hdf5(H5Aexists_by_name(file.get(), path.c_str(), attribute_name.c_str(), H5P_DEFAULT),
                   problem) == 0)
      return false;
    const Hdf5Handle attribute(check_hdf5(H5Aopen_by_name(file.get(), path.c_str(), attribute_name.c_str(),
                                                          H5P_DEFAULT, H5P_DEFAULT),
                                          problem),
                               H5Aclose);
    const Hdf5Handle space(check_hdf5(H5Aget_space(attribute.get()), problem), H5Sclose);
    const Hdf5Handle type(check_hdf5(H5Aget_type(attribute.get()), problem), H5Tclose);
    const auto found = describe(space.get(), type.get(), problem);
    if (found.empty || found.elements() != 1) throw DataError(problem + ": it does not hold one value");
    use(attribute.get(), type.get(), found.type, problem);
    return true;
  });
}

template <class T>
std::vector<T> ArchiveReader::Impl::read(hid_t dataset, const Description& found,
                                         const std::string& problem) const {
  require_stored(dataset, found, problem);
  std::vector<T> values(static_cast<std::size_t>(found.elements()));
  if (!values.empty())
    check_hdf5(H5Dread(dataset, memory_type<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), problem);
  return values;
}

ArchiveReader::ArchiveReader(IoExecutor& io, const std::string& file)
    : impl_(std::make_unique<Impl>(io, file)) {}
ArchiveReader::~ArchiveReader() = default;
ArchiveReader::ArchiveReader(ArchiveReader&&) noexcept = default;
ArchiveReader& ArchiveReader::operator=(ArchiveReader&&) noexcept = default;

bool ArchiveReader::contains(std::string_view path) const {
  return impl_->io.run([&] { return hdf5_contains(impl_->file.get(), absolute(path)); });
}

std::vector<std::string> ArchiveReader::list(std::string_view group) const {
  return impl_->io.run([&] {
    const auto path = absolute(group);
    if (!hdf5_contains(impl_->file.get(), path)) throw DataError(impl_->file_name + " has no group " + path);
    const Hdf5Handle opened(H5Gopen2(impl_->file.get(), path.c_str(), H5P_DEFAULT), H5Gclose);
    if (!opened) throw DataError(impl_->title(path) + " is not a group");
    return hdf5_names(opened.get());
  });
}

Array ArchiveReader::get(std::string_view path) const {
  return impl_->with_array(path, [this](hid_t dataset, const Description& found, const std::string& problem) {
    return Array{found.shape, impl_->read<double>(dataset, found, problem)};
  });
}

std::vector<std::int64_t> ArchiveReader::get_integers(std::string_view path) const {
  return impl_->with_array(path, [&](hid_t dataset, const Description& found, const std::string& problem) {
    if (found.type != H5T_FLOAT) return impl_->read<std::int64_t>(dataset, found, problem);
    std::vector<std::int64_t> integers;
    for (const double value : impl_->read<double>(dataset, found, problem))
      integers.push_back(exact_integer(value, impl_->title(absolute(path))));
    return integers;
  });
}

std::optional<std::string> ArchiveReader::text_attribute(std::string_view path, std::string_view name) const {
  std::string value;
  const auto read = [&](hid_t attribute, hid_t type, H5T_class_t kind, const std::string& problem) {
    if (kind != H5T_STRING) throw DataError(problem + ": it is not text");
    value = read_text(attribute, type, problem);
  };
  return impl_->with_attribute(path, name, read) ? std::optional(value) : std::nullopt;
}

std::optional<double> ArchiveReader::number_attribute(std::string_view path, std::string_view name) const {
  double value = 0;
  const auto read = [&](hid_t attribute, hid_t, H5T_class_t kind, const std::string& problem) {
    if (!is_number(kind)) throw DataError(problem + ": it is not a number");
    check_hdf5(H5Aread(attribute, H5T_NATIVE_DOUBLE, &value), problem);
  };
  return impl_->with_attribute(path, name, read) ? std::optional(value) : std::nullopt;
}

std::optional<std::int64_t> ArchiveReader::integer_attribute(std::string_view path,
                                                             std::string_view name) const {
  std::int64_t value = 0;
  const auto read = [&](hid_t attribute, hid_t, H5T_class_t kind, const std::string& problem) {
    if (!is_number(kind)) throw DataError(problem + ": it is not a number");
    if (kind != H5T_FLOAT) {
      check_hdf5(H5Aread(attribute, H5T_NATIVE_INT64, &value), problem);
      return;
    }
    double number = 0;
    check_hdf5(H5Aread(attribute, H5T_NATIVE_DOUBLE, &number), problem);
    value = exact_integer(number, problem);
  };
  return impl_->with_attribute(path, name, read) ? std::optional(value) : std::nullopt;
}

const std::string& ArchiveReader::file() const noexcept {
  return impl_->file_name;
}

}  // namespace tally
