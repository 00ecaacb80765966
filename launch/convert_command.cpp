#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>

#include "comm/agreement.hpp"
#include "core/block.hpp"
#include "core/csv.hpp"
#include "core/error.hpp"
#include "core/hdf5_rows.hpp"
#include "core/npy.hpp"
#include "launch/context.hpp"
#include "launch/output.hpp"

namespace tally {
namespace {

struct ConvertRequest {
  std::string in, out, columns;
  bool float32 = false;
};

Index parse_number(const std::string& text, const std::string& whole) {
  Index value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size() || value < 0)
    throw UsageError("--columns " + whole + " cannot be read; write 0,2:5 for the columns 0, 2, 3 and 4");
  return value;
}

// "0,2:5": columns and half-open ranges of them, counted from 0. All where the text is empty.
std::vector<Index> parse_columns(const std::string& text, Index count) {
  std::vector<Index> chosen;
  const std::string all = text.empty() ? "0:" : text;
  for (std::size_t from = 0; from <= all.size();) {
    const auto to = std::min(all.find(',', from), all.size());
    const std::string piece = all.substr(from, to - from);
    const auto colon = piece.find(':');
    const Index first = colon == 0 ? 0 : parse_number(piece.substr(0, colon), text);
    Index last = first + 1;
    if (colon != std::string::npos) last = colon + 1 == piece.size() ? count : parse_number(piece.substr(colon + 1), text);
    if (last > count || first >= last)
      throw UsageError(fmt::format("--columns {}: there are {} columns, 0 to {}, and {} means none or more of them", text,
                                   count, count - 1, piece));
    for (Index column = first; column < last; ++column) chosen.push_back(column);
    from = to + 1;
  }
  return chosen;
}

// A table that is read from its first row to its last.
class Table {
 public:
  virtual ~Table() = default;
  virtual Index rows() = 0;
  virtual Index columns() const = 0;
  virtual bool has_header() const { return false; }
  // The next rows, at most `most`; their number.
  virtual Index read(Index most, std::vector<double>& out) = 0;
};

class TextTable final : public Table {
 public:
  explicit TextTable(const std::string& file) : reader_(file), rows_(reader_.count_rows()) {}
  Index rows() override { return rows_; }
  Index columns() const override { return reader_.columns(); }
  bool has_header() const override { return !reader_.header().empty(); }
  Index read(Index most, std::vector<double>& out) override { return reader_.read(most, out); }

 private:
  CsvReader reader_;
  Index rows_;
};

class SourceTable final : public Table {
 public:
  explicit SourceTable(std::unique_ptr<RowSource> source) : source_(std::move(source)) {}
  Index rows() override { return source_->rows(); }
  Index columns() const override { return source_->columns(); }
  Index read(Index most, std::vector<double>& out) override {
    const Index count = std::min(most, source_->rows() - next_);
    out.resize(static_cast<std::size_t>(count * columns()));
    if (count > 0) source_->read(next_, count, out.data());
    next_ += count;
    return count;
  }

 private:
  std::unique_ptr<RowSource> source_;
  Index next_ = 0;
};

std::unique_ptr<Table> open_table(const std::string& name, IoExecutor& io) {
  if (name.find(":/") != std::string::npos)
    return std::make_unique<SourceTable>(std::make_unique<Hdf5Rows>(io, std::vector<std::string>{name}));
  std::string ending = std::filesystem::path(name).extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
  if (ending == ".npy") return std::make_unique<SourceTable>(std::make_unique<NpyRows>(name));
  if (ending == ".csv" || ending == ".tsv" || ending == ".txt") return std::make_unique<TextTable>(name);
  throw UsageError(name + " is of no kind that can be converted: .csv, .tsv, .txt, .npy, or FILE.h5:/PATH");
}

// Runs on rank 0 alone.
class Conversion {
 public:
  Conversion(const ConvertRequest& request, CommandContext& context)
      : request_(request), context_(context), target_(parse_output(request.out, "/x")) {}

  void run() {
    refuse_to_replace(target_.file, {request_.in});
    table_ = open_table(request_.in, context_.io);
    if (table_->rows() == 0 || table_->columns() == 0) throw DataError(request_.in + " holds no numbers");
    const std::vector<Index> columns = parse_columns(request_.columns, table_->columns());
    Hdf5RowWriter writer(context_.io, target_.file, target_.path, table_->rows(), static_cast<Index>(columns.size()),
                         request_.float32 ? Hdf5RowWriter::Type::float32 : Hdf5RowWriter::Type::float64);
    std::vector<double> in, out;
    for (Index first = 0; first < table_->rows();) {
      const Index count = table_->read(block_rows_for(table_->columns()), in);
      if (count == 0) throw DataError(request_.in + " became shorter while it was being read");
      select(in, count, columns, out);
      if (request_.float32) check_range(out, first, columns);
      writer.append(out.data(), count);
      first += count;
      context_.communicator.pulse();
    }
    writer.finish();
    fmt::print("converted {} rows, {} columns, {}: {} -> {}:{}\n", table_->rows(), columns.size(),
               request_.float32 ? "float32" : "float64", request_.in, target_.file, target_.path);
    if (table_->has_header()) fmt::print(stderr, "tally: note: the names of the columns are not kept\n");
  }

 private:
  void select(const std::vector<double>& in, Index rows, const std::vector<Index>& columns,
              std::vector<double>& out) const {
    const Index D = table_->columns();
    out.clear();
    for (Index i = 0; i < rows; ++i)
      for (const Index column : columns) out.push_back(in[static_cast<std::size_t>(i * D + column)]);
  }

  // A number beyond float32 would become infinite, and a fit of it end there.
  void check_range(const std::vector<double>& values, Index first_row, const std::vector<Index>& columns) const {
    for (std::size_t i = 0; i < values.size(); ++i)
      if (std::isfinite(values[i]) && std::abs(values[i]) > std::numeric_limits<float>::max())
        throw DataError(fmt::format("{} row {}, column {} is {}, beyond the range of float32; convert without --float32",
                                    request_.in, first_row + static_cast<Index>(i / columns.size()),
                                    columns[i % columns.size()], values[i]));
  }

  const ConvertRequest& request_;
  CommandContext& context_;
  const DatasetName target_;
  std::unique_ptr<Table> table_;
};

}  // namespace

void add_convert_command(CLI::App& app, const Choose& choose) {
  CLI::App* command = app.add_subcommand("convert", "Make an HDF5 data set of a .csv, .npy or HDF5 table");
  const auto request = std::make_shared<ConvertRequest>();
  command->add_option("in", request->in, "Table of numbers: .csv, .tsv, .txt, .npy, or FILE.h5:/PATH")->required();
  command->add_option("out", request->out, "File to write, FILE.h5[:/PATH] (default path: /x)")->required();
  command->add_option("--columns", request->columns,
                      "Columns to keep, in this order, counted from 0: 0,2:5 is 0, 2, 3 and 4 (default: all)");
  command->add_flag("--float32", request->float32, "Store 4 bytes a number");
  command->callback([request, choose] {
    choose([request](CommandContext& context) {
      agree(context.communicator, [&] {
        if (context.is_root()) Conversion(*request, context).run();
      });
      return 0;
    });
  });
}

}  // namespace tally
