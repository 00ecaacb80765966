#include "launch/model_file.hpp"

#include <algorithm>
#include <sstream>

#include "core/error.hpp"

namespace tally {
namespace {

constexpr const char* format_name = "tally model";
constexpr std::int64_t format_version = 1;

std::string text(const ArchiveReader& archive, const char* name) {
  return archive.text_attribute("/", name).value_or("");
}

std::int64_t integer(const ArchiveReader& archive, const char* name) {
  return archive.integer_attribute("/", name).value_or(0);
}

Array vector_array(const std::vector<double>& values) { return {{static_cast<Index>(values.size())}, values}; }

}  // namespace

void write_record(ArchiveWriter& archive, const ModelRecord& record) {
  archive.attribute("/", "format", format_name);
  archive.attribute("/", "format_version", format_version);
  archive.attribute("/", "tally_version", TALLY_VERSION);
  archive.attribute("/", "model", record.model);
  archive.attribute("/", "components", record.components);
  archive.attribute("/", "columns", record.columns);
  std::string option_names;
  for (const auto& [name, value] : record.options) {
    archive.attribute("/", "option_" + name, value);
    option_names += (option_names.empty() ? "" : " ") + name;
  }
  archive.attribute("/", "options", option_names);
  for (const auto& [name, array] : record.parameters) archive.put("/parameters/" + name, array);
  archive.put("/standardisation/centre", vector_array(record.standardisation.centre));
  const auto& exponents = record.standardisation.exponent;
  const std::vector<std::int64_t> exponent(exponents.begin(), exponents.end());
  archive.put("/standardisation/exponent", std::span(exponent));
  if (!record.standardisation.reference.empty())
    archive.put("/standardisation/reference", vector_array(record.standardisation.reference));
  archive.put("/training/objective", vector_array(record.trace));
  if (record.batch_rows > 0) {
    archive.attribute("/training", "mini_batch", record.batch_rows);
    archive.attribute("/training", "step_decay", record.step_decay);
    archive.put("/training/held_out", vector_array(record.held_out));
  }
  archive.attribute("/training", "objective", record.objective_name);
  archive.attribute("/training", "status", record.status);
  archive.attribute("/training", "iterations", std::int64_t{record.iterations});
  archive.attribute("/training", "rows", record.rows);
  archive.attribute("/training", "total_weight", record.total_weight);
  archive.attribute("/training", "free_parameters", record.free_parameters);
  archive.attribute("/training", "seed", record.seed);
  archive.attribute("/training", "precision", record.precision);
  archive.attribute("/training", "data", record.data);
  archive.attribute("/training", "fingerprint", record.fingerprint);
  archive.attribute("/training", "cut", record.cut);
  archive.attribute("/training", "command", record.command_line);
}

ModelRecord read_record(const ArchiveReader& archive) {
  if (text(archive, "format") != format_name)
    throw DataError(archive.file() + " is not a model file of Tally; `tally fit ... --out` writes one");
  if (integer(archive, "format_version") > format_version)
    throw DataError(archive.file() + " was written by a newer Tally (format " +
                    std::to_string(integer(archive, "format_version")) + "); use that version or a newer one");
  ModelRecord record;
  record.model = text(archive, "model");
  record.components = integer(archive, "components");
  record.columns = integer(archive, "columns");
  std::istringstream option_names(text(archive, "options"));
  for (std::string name; option_names >> name;)
    record.options[name] = archive.text_attribute("/", "option_" + name).value_or("");
  for (const std::string& name : archive.list("/parameters"))
    record.parameters[name] = archive.get("/parameters/" + name);
  record.standardisation.centre = archive.get("/standardisation/centre").values;
  for (const std::int64_t exponent : archive.get_integers("/standardisation/exponent"))
    record.standardisation.exponent.push_back(static_cast<int>(exponent));
  for (const std::string& name : archive.list("/standardisation"))
    if (name == "reference") record.standardisation.reference = archive.get("/standardisation/reference").values;
  record.trace = archive.get("/training/objective").values;
  const auto training = [&](const char* name) { return archive.text_attribute("/training", name).value_or(""); };
  const auto count = [&](const char* name) { return archive.integer_attribute("/training", name).value_or(0); };
  record.batch_rows = count("mini_batch");
  record.step_decay = archive.number_attribute("/training", "step_decay").value_or(0);
  if (archive.contains("/training/held_out")) record.held_out = archive.get("/training/held_out").values;
  record.objective_name = training("objective");
  record.status = training("status");
  record.iterations = static_cast<int>(count("iterations"));
  record.rows = count("rows");
  record.total_weight = archive.number_attribute("/training", "total_weight").value_or(0);
  record.free_parameters = count("free_parameters");
  record.seed = count("seed");
  record.precision = training("precision");
  record.data = training("data");
  record.fingerprint = training("fingerprint");
  record.cut = training("cut");
  record.command_line = training("command");
  return record;
}

LoadedModel load_model(IoExecutor& io, const std::string& file, const Registry& registry) {
  LoadedModel loaded;
  loaded.record = read_record(ArchiveReader(io, file));
  OptionValues options;
  for (const auto& [name, value] : loaded.record.options) {
    std::string option = name;
    std::replace(option.begin(), option.end(), '_', '-');
    options[option] = value;
  }
  loaded.model =
      registry.find(loaded.record.model).make(loaded.record.components, loaded.record.columns, options);
  const Standardisation& standardisation = loaded.record.standardisation;
  if (standardisation.columns() != loaded.record.columns ||
      (!standardisation.reference.empty() && standardisation.reference.size() != standardisation.centre.size()))
    throw DataError(file + " contradicts itself: its standardisation has another width than its model");
  loaded.model->set_standardisation(standardisation);
  loaded.parameters.resize(static_cast<std::size_t>(loaded.model->parameters().size()));
  loaded.model->set_defaults(loaded.parameters);
  loaded.model->read(loaded.record.parameters, loaded.parameters);
  return loaded;
}

}  // namespace tally
