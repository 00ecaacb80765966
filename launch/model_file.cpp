#include "launch/model_file.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
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

// How far the scales of columns may lie from 1, as powers of 2: those of any doubles.
constexpr int largest_scale = 1100;

// What is wrong with a standardisation for a model of so many columns; empty where nothing is.
std::string problem_of(const Standardisation& standardisation, Index columns) {
  const auto is_finite = [](double value) { return std::isfinite(value); };
  const auto& [centre, exponent, reference] = standardisation;
  if (standardisation.columns() != columns || exponent.size() != centre.size() ||
      (!reference.empty() && reference.size() != centre.size()))
    return "its standardisation has another width than its model";
  if (!std::all_of(centre.begin(), centre.end(), is_finite) || !std::all_of(reference.begin(), reference.end(), is_finite))
    return "its standardisation is not finite";
  if (!std::all_of(exponent.begin(), exponent.end(), [](int power) { return std::abs(power) <= largest_scale; }))
    return "its standardisation scales beyond the range of numbers";
  return "";
}

// Numbers in the arrays of a file: nothing is made much larger because of a single number that a file gives.
Index numbers_in(const NamedArrays& arrays) {
  Index numbers = 0;
  for (const auto& [name, array] : arrays) numbers += static_cast<Index>(array.values.size());
  return numbers;
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

int to_int(std::int64_t value, const std::string& name) {
  if (value < std::numeric_limits<int>::min() || value > std::numeric_limits<int>::max())
    throw DataError(name + " is " + std::to_string(value) + ", far from what it can be; the file may be damaged");
  return static_cast<int>(value);
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
    record.standardisation.exponent.push_back(to_int(exponent, archive.file() + ":/standardisation/exponent"));
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
  record.iterations = to_int(count("iterations"), archive.file() + ": iterations");
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
  const auto require = [&](bool holds, const std::string& problem) {
    if (!holds) throw DataError(file + " contradicts itself: " + problem);
  };
  const ModelRecord& record = loaded.record;
  const std::string problem = problem_of(record.standardisation, record.columns);
  require(problem.empty(), problem);
  constexpr Index always_made = 1024, always_held = Index{1} << 23, most_for_each = 64;
  const Index numbers = numbers_in(record.parameters);
  require(record.components <= std::max(numbers, always_made), "it has more components than its arrays");
  loaded.model = registry.find(record.model).make(record.components, record.columns, options);
  const Index size = loaded.model->parameters().size();
  require(size <= always_held || size / most_for_each <= numbers, "its arrays are too small for its model");
  loaded.model->set_standardisation(record.standardisation);
  loaded.parameters.resize(static_cast<std::size_t>(loaded.model->parameters().size()));
  loaded.model->set_defaults(loaded.parameters);
  loaded.model->read(loaded.record.parameters, loaded.parameters);
  return loaded;
}

}  // namespace tally
