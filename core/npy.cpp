#include "core/npy.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.hpp"

namespace tally {
namespace {

constexpr Index piece_bytes = Index{4} << 20;

// Writes `count` elements, as they lie in the file, to out[0], out[stride], ...
using Decode = void (*)(const std::byte* stored, Index count, double* out, Index stride);

template <class T, bool swapped>
void decode(const std::byte* stored, Index count, double* out, Index stride) {
  for (Index i = 0; i < count; ++i) {
    std::array<std::byte, sizeof(T)> bytes;
    std::memcpy(bytes.data(), stored + i * static_cast<Index>(sizeof(T)), sizeof(T));
    if constexpr (swapped) std::reverse(bytes.begin(), bytes.end());
    out[i * stride] = static_cast<double>(std::bit_cast<T>(bytes));
  }
}

struct ElementType {
  std::string_view code;
  Index bytes;
  bool fits_float;
  Decode little;
  Decode big;
};

template <class T>
constexpr ElementType element(std::string_view code) {
  constexpr bool native_little = std::endian::native == std::endian::little;
  constexpr bool fits = std::is_same_v<T, float> || (std::is_integral_v<T> && sizeof(T) <= 2);
  return {code, sizeof(T), fits, decode<T, !native_little>, decode<T, native_little>};
}

constexpr std::array element_types{
    element<float>("f4"),         element<double>("f8"),        element<std::int8_t>("i1"),
    element<std::int16_t>("i2"),  element<std::int32_t>("i4"),  element<std::int64_t>("i8"),
    element<std::uint8_t>("u1"),  element<std::uint16_t>("u2"), element<std::uint32_t>("u4"),
    element<std::uint64_t>("u8"), element<std::uint8_t>("b1")};

struct Header {
  std::string type;  // "<f8"
  bool fortran_order = false;
  std::vector<Index> shape;
};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// What follows 'key': in the header, a Python dictionary; empty where the key is absent.
std::string_view value_of(std::string_view header, const std::string& key) {
  const auto at = header.find("'" + key + "'");
  if (at == std::string_view::npos) return {};
  const auto rest = header.substr(at + key.size() + 2);
  const auto colon = rest.find(':');
  return colon == std::string_view::npos ? std::string_view() : trimmed(rest.substr(colon + 1));
}

// "3, 4" or "3,"; false where it is something else.
bool parse_shape(std::string_view text, std::vector<Index>& shape) {
  while (!(text = trimmed(text)).empty()) {
    Index extent = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), extent);
    if (error != std::errc() || extent < 0) return false;
    shape.push_back(extent);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    text = trimmed(text);
    if (text.empty()) break;
    if (text.front() != ',') return false;
    text.remove_prefix(1);
  }
  return true;
}

bool parse_header(std::string_view text, Header& header) {
  const auto type = value_of(text, "descr");
  const auto order = value_of(text, "fortran_order");
  const auto shape = value_of(text, "shape");
  if (!order.starts_with("True") && !order.starts_with("False")) return false;
  header.fortran_order = order.starts_with("True");
  if (!shape.starts_with('(') || shape.find(')') == std::string_view::npos) return false;
  if (!parse_shape(shape.substr(1, shape.find(')') - 1), header.shape)) return false;
  if (type.starts_with('\'')) header.type = type.substr(1, type.find('\'', 1) - 1);
  return !type.empty();
}

}  // namespace

struct NpyRows::Impl {
  explicit Impl(const std::string& name) : file(name) {}
  ~Impl() {
    if (descriptor >= 0) close(descriptor);
  }
  void open_file();
  void read_header();
  void set_type(const std::string& type);
  void set_shape(const Header& header);
  void read_bytes(void* out, Index count, Index offset) const;
  void read_pieces(Index first_element, Index count, double* out, Index stride) const;
  [[noreturn]] void refuse(const std::string& problem) const { throw DataError(file + " " + problem); }

  std::string file;
  int descriptor = -1;
  Index file_bytes = 0;
  Index data_offset = 0;
  const ElementType* element = nullptr;
  Decode decode = nullptr;
  Index rows = 0;
  Index columns = 1;
  bool fortran_order = false;
  mutable std::vector<std::byte> buffer;
};

void NpyRows::Impl::open_file() {
  descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // does not wait for the writer of a pipe
  if (descriptor < 0 && errno == ENOENT) refuse("does not exist");
  if (descriptor < 0) refuse("cannot be read: " + std::generic_category().message(errno));
  struct stat info {};
  if (fstat(descriptor, &info) != 0) refuse("cannot be read: " + std::generic_category().message(errno));
  if (!S_ISREG(info.st_mode)) refuse("cannot be read: it is no regular file");
  file_bytes = info.st_size;
}

void NpyRows::Impl::read_header() {
  std::array<unsigned char, 12> start{};
  constexpr std::string_view magic = "\x93NUMPY";
  if (file_bytes < static_cast<Index>(start.size())) refuse("is not a .npy file");
  read_bytes(start.data(), start.size(), 0);
  if (std::memcmp(start.data(), magic.data(), magic.size()) != 0) refuse("is not a .npy file");
  const int version = start[6];
  if (version < 1 || version > 3) refuse("has .npy format " + std::to_string(version) + "; 1 to 3 are known");
  const Index length_bytes = version == 1 ? 2 : 4;
  Index length = 0;
  for (Index i = 0; i < length_bytes; ++i)
    length |= static_cast<Index>(start[static_cast<std::size_t>(8 + i)]) << 8 * i;
  data_offset = 8 + length_bytes + length;
  if (data_offset > file_bytes) refuse("is truncated: it ends in its header");
  std::string text(static_cast<std::size_t>(length), '\0');
  read_bytes(text.data(), length, 8 + length_bytes);
  Header header;
  if (!parse_header(text, header))
    refuse("has a header that is not understood; save it again with numpy.save");
  set_type(header.type);
  set_shape(header);
}

void NpyRows::Impl::set_type(const std::string& type) {
  const auto advice = "; convert it with numpy's astype('f8') first";
  if (type.size() < 2) refuse("holds records, not plain numbers" + std::string(advice));
  const auto code = std::string_view(type).substr(1);
  const auto found = std::find_if(element_types.begin(), element_types.end(),
                                  [code](const ElementType& known) { return known.code == code; });
  const bool big = type[0] == '>';
  const bool known_order =
      big || type[0] == '<' || (type[0] == '|' && found != element_types.end() && found->bytes == 1);
  if (found == element_types.end() || !known_order) refuse("holds elements of type '" + type + "'" + advice);
  element = found;
  decode = big ? element->big : element->little;
}

void NpyRows::Impl::set_shape(const Header& header) {
  if (header.shape.size() != 1 && header.shape.size() != 2)
    refuse("has " + std::to_string(header.shape.size()) + " dimensions; it must have one or two");
  rows = header.shape[0];
  columns = header.shape.size() == 2 ? header.shape[1] : 1;
  fortran_order = header.fortran_order && columns > 1;
  const Index most = (std::numeric_limits<Index>::max() - data_offset) / element->bytes;
  if (rows > 0 && columns > most / rows)
    refuse("has a header that is not understood; save it again with numpy.save");
  const Index expected = data_offset + rows * columns * element->bytes;
  if (file_bytes < expected)
    refuse("is truncated: it has " + std::to_string(file_bytes) + " bytes and should have " +
           std::to_string(expected) + "; copy it again");
}

void NpyRows::Impl::read_bytes(void* out, Index count, Index offset) const {
  auto* to = static_cast<std::byte*>(out);
  while (count > 0) {
    const auto got = pread(descriptor, to, static_cast<std::size_t>(count), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse("cannot be read: " + std::generic_category().message(errno));
    if (got == 0) refuse("became shorter while it was being read");
    to += got;
    count -= got;
    offset += got;
  }
}

// Elements that lie one after the other in the file.
void NpyRows::Impl::read_pieces(Index first_element, Index count, double* out, Index stride) const {
  const Index most = piece_bytes / element->bytes;
  buffer.resize(static_cast<std::size_t>(std::min(most, count) * element->bytes));
  for (Index done = 0; done < count; done += most) {
    const Index here = std::min(most, count - done);
    read_bytes(buffer.data(), here * element->bytes, data_offset + (first_element + done) * element->bytes);
    decode(buffer.data(), here, out + done * stride, stride);
  }
}

NpyRows::NpyRows(const std::string& file) : impl_(std::make_unique<Impl>(file)) {
  impl_->open_file();
  impl_->read_header();
}
NpyRows::~NpyRows() = default;

Index NpyRows::rows() const noexcept {
  return impl_->rows;
}
Index NpyRows::columns() const noexcept {
  return impl_->columns;
}
bool NpyRows::fits_float() const noexcept {
  return impl_->element->fits_float;
}

void NpyRows::read(Index first, Index count, double* out) const {
  if (first < 0 || count < 0 || first > rows() - count)
    throw UsageError(std::to_string(count) + " rows from row " + std::to_string(first) + " were asked of " +
                     name() + ", which has " + std::to_string(rows()));
  if (count == 0) return;  // of no rows there may be any number of columns
  if (!impl_->fortran_order) {
    impl_->read_pieces(first * columns(), count * columns(), out, 1);
    return;
  }
  for (Index column = 0; column < columns(); ++column)
    impl_->read_pieces(column * rows() + first, count, out + column, columns());
}

std::string NpyRows::where(Index row) const {
  return impl_->file + " row " + std::to_string(row);
}
std::string NpyRows::name() const {
  return impl_->file;
}

}  // namespace tally
