#include "core/csv.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "core/error.hpp"

namespace tally {
namespace {

constexpr std::size_t buffer_bytes = std::size_t{1} << 20;
constexpr std::size_t longest_line = std::size_t{256} << 20;

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

std::string_view without_blanks(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Lines of a file, in bounded memory.
class LineReader {
 public:
  explicit LineReader(const std::string& file);
  ~LineReader() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // The next line without its end, valid until the next call; nothing at the end of the file.
  std::optional<std::string_view> next();
  Index line_number() const noexcept { return line_number_; }
  void rewind();

 private:
  void fill();
  [[noreturn]] void fail() const;

  std::string file_;
  int descriptor_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;  // what of the buffer is not yet returned
  std::size_t end_ = 0;
  bool at_end_ = false;
  Index line_number_ = 0;
};

LineReader::LineReader(const std::string& file)
    : file_(file), descriptor_(open(file.c_str(), O_RDONLY | O_CLOEXEC)), buffer_(buffer_bytes) {
  if (descriptor_ < 0 && errno == ENOENT) throw DataError(file + " does not exist");
  if (descriptor_ < 0) fail();
}

std::optional<std::string_view> LineReader::next() {
  std::size_t searched = 0;
  for (;;) {
    const auto* start = buffer_.data() + begin_;
    const auto* newline =
        static_cast<const char*>(std::memchr(start + searched, '\n', end_ - begin_ - searched));
    if (newline || (at_end_ && begin_ < end_)) {
      std::string_view line(start, newline ? static_cast<std::size_t>(newline - start) : end_ - begin_);
      begin_ += line.size() + (newline ? 1 : 0);
      if (line_number_++ == 0 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
      if (line.ends_with('\r')) line.remove_suffix(1);
      return line;
    }
    if (at_end_) return std::nullopt;
    searched = end_ - begin_;
    if (searched > longest_line)
      throw DataError(file_ + " line " + std::to_string(line_number_ + 1) +
                      " is longer than 256 MiB; is it a text file?");
    fill();
  }
}

void LineReader::rewind() {
  if (lseek(descriptor_, 0, SEEK_SET) < 0) fail();
  begin_ = end_ = 0;
  at_end_ = false;
  line_number_ = 0;
}

void LineReader::fill() {
  std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
            buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
  end_ -= std::exchange(begin_, 0);
  if (end_ == buffer_.size()) buffer_.resize(2 * buffer_.size());
  ssize_t got = 0;
  do got = ::read(descriptor_, buffer_.data() + end_, buffer_.size() - end_);
  while (got < 0 && errno == EINTR);
  if (got < 0) fail();
  if (got == 0) at_end_ = true;
  end_ += static_cast<std::size_t>(got);
}

void LineReader::fail() const {
  throw DataError(file_ + " cannot be read: " + std::generic_category().message(errno));
}

// A line as far as its comment; empty where only blanks are left.
std::string_view content_of(std::string_view line) {
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"') quoted = !quoted;
    if (line[i] == '#' && !quoted && (i == 0 || is_blank(line[i - 1]))) {
      line = line.substr(0, i);
      break;
    }
  }
  return without_blanks(line).empty() ? std::string_view() : line;
}

char detect_delimiter(std::string_view content) {
  bool quoted = false;
  std::string outside;
  for (const char c : content) {
    if (c == '"') quoted = !quoted;
    if (!quoted) outside += c;
  }
  for (const char delimiter : {'\t', ';', ','})
    if (outside.find(delimiter) != std::string::npos) return delimiter;
  return ' ';
}

// Takes the next cell off `rest`, which becomes nothing after the last one.
std::string_view take_cell(std::optional<std::string_view>& rest, char delimiter) {
  auto text = *rest;
  bool quoted = false;
  std::size_t end = 0;
  while (end < text.size() && (quoted || text[end] != delimiter)) quoted ^= text[end++] == '"';
  auto cell = without_blanks(text.substr(0, end));
  if (cell.size() >= 2 && cell.front() == '"' && cell.back() == '"')
    cell = without_blanks(cell.substr(1, cell.size() - 2));
  auto next = end;
  if (delimiter == ' ')
    while (next < text.size() && text[next] == ' ') ++next;
  else if (next < text.size())
    ++next;
  const bool last = end == text.size();
  rest = last ? std::nullopt : std::optional(text.substr(next));
  return cell;
}

enum class NumberProblem { none, not_a_number, out_of_range };

// Smaller than the smallest double, as its text tells.
bool is_tiny(std::string_view text) {
  const auto exponent = text.find_first_of("eE");
  if (exponent != std::string_view::npos) return text.substr(exponent + 1).starts_with('-');
  return text.starts_with("0.") || text.starts_with("-0.") || text.starts_with('.') || text.starts_with("-.");
}

NumberProblem parse_number(std::string_view text, double& value) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::invalid_argument || end != text.data() + text.size())
    return NumberProblem::not_a_number;
  if (error != std::errc::result_out_of_range) return NumberProblem::none;
  if (!is_tiny(text)) return NumberProblem::out_of_range;
  value = text.starts_with('-') ? -0.0 : 0.0;
  return NumberProblem::none;
}

// A cell as a message shows it.
std::string quoted(std::string_view cell) {
  constexpr std::size_t longest = 40;
  std::string text(cell.substr(0, longest));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = '?';
  return "'" + text + (cell.size() > longest ? "..." : "") + "'";
}

}  // namespace

struct CsvReader::Impl {
  explicit Impl(const std::string& name) : file(name), lines(name) {}
  void read_first_line();
  std::optional<std::string_view> next_row();
  void parse(std::string_view row, std::vector<double>& out) const;
  [[noreturn]] void refuse_cell(Index column, const std::string& problem) const;
  [[noreturn]] void refuse_width(Index found) const;

  std::string file;
  LineReader lines;
  char delimiter = ',';
  Index columns = 0;
  Index first_line = 0;  // the line that set the number of columns
  std::vector<std::string> header;
};

void CsvReader::Impl::read_first_line() {
  std::optional<std::string_view> line;
  std::string_view content;
  while (content.empty() && (line = lines.next())) content = content_of(*line);
  if (content.empty()) throw DataError(file + " holds no rows");
  first_line = lines.line_number();
  delimiter = detect_delimiter(content);
  bool has_number = false;
  for (std::optional<std::string_view> rest = delimiter == '\t' ? content : without_blanks(content); rest;
       ++columns) {
    const auto cell = take_cell(rest, delimiter);
    double ignored = 0;
    has_number = has_number || parse_number(cell, ignored) != NumberProblem::not_a_number;
    header.emplace_back(cell);
  }
  if (!has_number) return;
  header.clear();
  lines.rewind();
}

// The next line with content; the header is skipped.
std::optional<std::string_view> CsvReader::Impl::next_row() {
  while (const auto line = lines.next()) {
    if (!header.empty() && lines.line_number() <= first_line) continue;
    if (const auto content = content_of(*line); !content.empty()) return content;
  }
  return std::nullopt;
}

void CsvReader::Impl::parse(std::string_view row, std::vector<double>& out) const {
  Index column = 0;
  for (std::optional<std::string_view> rest = delimiter == '\t' ? row : without_blanks(row); rest;) {
    const auto cell = take_cell(rest, delimiter);
    ++column;
    if (column > columns) continue;
    double value = 0;
    const auto problem = parse_number(cell, value);
    if (cell.empty()) refuse_cell(column, "is empty; write nan for a missing value");
    if (problem == NumberProblem::not_a_number)
      refuse_cell(column, "holds " + quoted(cell) + ", which is not a number");
    if (problem == NumberProblem::out_of_range)
      refuse_cell(column, "holds " + quoted(cell) + ", too large for a double");
    out.push_back(value);
  }
  if (column != columns) refuse_width(column);
}

void CsvReader::Impl::refuse_cell(Index column, const std::string& problem) const {
  throw DataError(file + " line " + std::to_string(lines.line_number()) + " column " +
                  std::to_string(column) + " " + problem);
}

void CsvReader::Impl::refuse_width(Index found) const {
  throw DataError(file + " line " + std::to_string(lines.line_number()) + " has " + std::to_string(found) +
                  " columns but line " + std::to_string(first_line) + " has " + std::to_string(columns));
}

CsvReader::CsvReader(const std::string& file) : impl_(std::make_unique<Impl>(file)) {
  impl_->read_first_line();
}
CsvReader::~CsvReader() = default;
CsvReader::CsvReader(CsvReader&&) noexcept = default;
CsvReader& CsvReader::operator=(CsvReader&&) noexcept = default;

Index CsvReader::columns() const noexcept {
  return impl_->columns;
}
const std::vector<std::string>& CsvReader::header() const noexcept {
  return impl_->header;
}

Index CsvReader::count_rows() {
  rewind();
  Index rows = 0;
  while (impl_->next_row()) ++rows;
  rewind();
  return rows;
}

Index CsvReader::read(Index most, std::vector<double>& out) {
  out.clear();
  Index rows = 0;
  for (; rows < most; ++rows) {
    const auto row = impl_->next_row();
    if (!row) break;
    impl_->parse(*row, out);
  }
  return rows;
}

void CsvReader::rewind() {
  impl_->lines.rewind();
}

}  // namespace tally
