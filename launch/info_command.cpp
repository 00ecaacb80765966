#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "comm/agreement.hpp"
#include "core/archive.hpp"
#include "core/error.hpp"
#include "core/hdf5_listing.hpp"
#include "core/hdf5_rows.hpp"
#include "launch/column_scan.hpp"
#include "launch/context.hpp"
#include "launch/model_file.hpp"
#include "launch/resources.hpp"

namespace tally {
namespace {

// Tables show so many rows and columns of numbers; JSON has all of them.
constexpr Index shown = 10;
// JSON is UTF-8, which the names and texts of a file need not be.
constexpr auto replace = nlohmann::json::error_handler_t::replace;

std::string shape_text(const std::vector<Index>& shape) {
  return shape.empty() ? "one value" : fmt::format("{}", fmt::join(shape, " x "));
}

std::string type_text(const DatasetInfo& info) {
  if (info.chunks.empty()) return info.type;
  return fmt::format("{}, chunks of {}{}", info.type, shape_text(info.chunks), info.compressed ? ", compressed" : "");
}

bool is_model_file(IoExecutor& io, const std::string& file) {
  return ArchiveReader(io, file).text_attribute("/", "format") == "tally model";
}

// The rows of a vector or matrix; of what has more axes, its shape alone.
void append_table(const Array& array, std::string& text) {
  if (array.shape.empty() || array.shape.size() > 2) return;
  const Index rows = array.shape.size() == 1 ? 1 : array.shape[0];
  const Index columns = array.shape.back();
  for (Index i = 0; i < std::min(rows, shown); ++i) {
    text += "   ";
    for (Index j = 0; j < std::min(columns, shown); ++j)
      text += fmt::format(" {:>11.5g}", array.values[static_cast<std::size_t>(i * columns + j)]);
    text += columns > shown ? "  ...\n" : "\n";
  }
  if (rows > shown) text += "    ...\n";
}

std::string model_as_text(const ModelRecord& record, const std::string& file, bool checkpoint) {
  std::string text = fmt::format("{}: {} of {}, {} components of {} columns\n", file,
                                 checkpoint ? "checkpoint of a fit" : "model", record.model, record.components,
                                 record.columns);
  const auto line = [&](const char* name, const std::string& value) {
    text += fmt::format("  {:<16} {}\n", name, value);
  };
  for (const auto& [name, value] : record.options) line(name.c_str(), value);
  if (record.batch_rows > 0) line("mini-batches", fmt::format("{} rows, step decay {}", record.batch_rows, record.step_decay));
  if (!record.held_out.empty()) line("held-out mean", fmt::format("{:.10g}", record.held_out.back()));
  line("status", fmt::format("{} after {} iterations", record.status, record.iterations));
  if (!record.trace.empty())
    line(record.objective_name.c_str(),
         fmt::format("{:.12g} at first, {:.12g} at last (mean {:.10g})", record.trace.front(), record.trace.back(),
                     record.trace.back() / record.total_weight));
  line("data", fmt::format("{}, {} rows, weight {:.12g}", record.data, record.rows, record.total_weight));
  line("free parameters", std::to_string(record.free_parameters));
  line("seed", std::to_string(record.seed));
  line("precision", record.precision);
  line("command", record.command_line);
  for (const auto& [name, array] : record.parameters) {
    text += fmt::format("  {} ({})\n", name, shape_text(array.shape));
    append_table(array, text);
  }
  return text;
}

std::string model_as_json(const ModelRecord& record, bool checkpoint) {
  nlohmann::json parameters = nlohmann::json::object();
  for (const auto& [name, array] : record.parameters)
    parameters[name] = {{"shape", array.shape}, {"values", array.values}};
  const nlohmann::json json = {{"kind", checkpoint ? "checkpoint" : "model"},
                               {"model", record.model},
                               {"options", record.options},
                               {"components", record.components},
                               {"columns", record.columns},
                               {"status", record.status},
                               {"iterations", record.iterations},
                               {"objective", record.objective_name},
                               {"trace", record.trace},
                               {"mini_batch", record.batch_rows},
                               {"held_out", record.held_out},
                               {"rows", record.rows},
                               {"weight", record.total_weight},
                               {"free_parameters", record.free_parameters},
                               {"seed", record.seed},
                               {"precision", record.precision},
                               {"data", record.data},
                               {"fingerprint", record.fingerprint},
                               {"command", record.command_line},
                               {"parameters", std::move(parameters)}};
  return json.dump(2, ' ', false, replace) + "\n";
}

nlohmann::json dataset_as_json(const DatasetInfo& info) {
  return {{"path", info.path},
          {"shape", info.shape},
          {"type", info.type},
          {"chunks", info.chunks.empty() ? nlohmann::json() : nlohmann::json(info.chunks)},
          {"compressed", info.compressed}};
}

std::string describe_model(CommandContext& context, const std::string& file, bool json) {
  const ArchiveReader archive(context.io, file);
  const ModelRecord record = read_record(archive);
  const bool checkpoint = archive.contains("/checkpoint");
  return json ? model_as_json(record, checkpoint) : model_as_text(record, file, checkpoint);
}

std::string describe_file(CommandContext& context, const std::string& file, bool json) {
  const std::vector<DatasetInfo> datasets = list_datasets(context.io, file);
  if (json) {
    nlohmann::json list = nlohmann::json::array();
    for (const DatasetInfo& info : datasets) list.push_back(dataset_as_json(info));
    return nlohmann::json({{"kind", "data"}, {"file", file}, {"datasets", std::move(list)}}).dump(2, ' ', false, replace) + "\n";
  }
  std::string text = fmt::format("{}: {} data {}\n", file, datasets.size(), datasets.size() == 1 ? "set" : "sets");
  for (const DatasetInfo& info : datasets)
    text += fmt::format("  {:<24} {:<16} {}\n", info.path, shape_text(info.shape), type_text(info));
  return text;
}

DatasetInfo find_dataset(IoExecutor& io, const DatasetName& name) {
  for (DatasetInfo& info : list_datasets(io, name.file))
    if (info.path == name.path) return std::move(info);
  return {name.path, {}, "reached by a link", {}, false};
}

std::string describe_dataset(CommandContext& context, const std::string& name, bool json) {
  const Hdf5Rows rows(context.io, {name});
  const DatasetInfo info = find_dataset(context.io, parse_dataset_name(name));
  const DataScan scan = scan_columns(context.io, rows, default_threads(), [&] { context.communicator.pulse(); });
  if (json) {
    nlohmann::json columns = nlohmann::json::array();
    for (const ColumnSummary& column : scan.columns)
      columns.push_back({{"min", column.minimum},
                         {"mean", column.mean},
                         {"max", column.maximum},
                         {"not_finite", column.not_finite}});
    nlohmann::json result = dataset_as_json(info);
    result.update({{"kind", "data"}, {"rows", rows.rows()}, {"not_finite", scan.not_finite}});
    result["columns"] = std::move(columns);
    return result.dump(2, ' ', false, replace) + "\n";
  }
  std::string text = fmt::format("{}: {} rows, {} columns, {}\n", name, rows.rows(), rows.columns(), type_text(info));
  text += fmt::format("  {:>8} {:>13} {:>13} {:>13}\n", "column", "min", "mean", "max");
  constexpr std::size_t most_columns = 100;
  for (std::size_t d = 0; d < std::min(scan.columns.size(), most_columns); ++d) {
    const ColumnSummary& column = scan.columns[d];
    text += fmt::format("  {:>8} {:>13.6g} {:>13.6g} {:>13.6g}", d, column.minimum, column.mean, column.maximum);
    text += column.not_finite > 0 ? fmt::format("  {} NaN or infinite\n", column.not_finite) : "\n";
  }
  if (scan.columns.size() > most_columns) text += "  ... (--json has all)\n";
  if (scan.not_finite > 0)
    text += fmt::format("  {} values are NaN or infinite, first {} (counted from 0)\n", scan.not_finite,
                        scan.first_not_finite);
  return text;
}

std::string describe(CommandContext& context, const std::string& name, bool json) {
  if (name.find(":/") != std::string::npos) return describe_dataset(context, name, json);
  if (is_model_file(context.io, name)) return describe_model(context, name, json);
  return describe_file(context, name, json);
}

}  // namespace

void add_info_command(CLI::App& app, const Choose& choose) {
  struct InfoRequest {
    std::string name;
    bool json = false;
  };
  CLI::App* command = app.add_subcommand("info", "Show what a model, checkpoint or data file holds");
  const auto request = std::make_shared<InfoRequest>();
  command->add_option("file", request->name, "File, or FILE.h5:/PATH for the columns of a data set")->required();
  command->add_flag("--json", request->json, "Print it as JSON");
  command->callback([request, choose] {
    choose([request](CommandContext& context) {
      agree(context.communicator, [&] {
        if (context.is_root()) fmt::print("{}", describe(context, request->name, request->json));
      });
      return 0;
    });
  });
}

}  // namespace tally
