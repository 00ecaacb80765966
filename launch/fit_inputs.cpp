#include "launch/fit_inputs.hpp"

#include <fmt/format.h>

#include <utility>

#include "algorithms/latent/chain.hpp"
#include "core/archive.hpp"
#include "core/error.hpp"
#include "launch/sequence_inputs.hpp"

namespace tally {
namespace {

// The options of the model as it takes them: with the mask that a file holds in the file's place.
OptionValues read_options(const FitRequest& request, IoExecutor& io) {
  OptionValues options = request.model_options;
  if (const std::string file = topology_file(request); !file.empty()) {
    const DatasetName name = parse_dataset_name(file);
    options["topology"] = topology_of(ArchiveReader(io, name.file).get(name.path));
  }
  return options;
}

std::unique_ptr<Hdf5Rows> open_beside(const Hdf5Rows& rows, IoExecutor& io, const std::string& name, Index columns,
                                      const char* what) {
  auto source = std::make_unique<Hdf5Rows>(io, std::vector<std::string>{name});
  if (source->rows() != rows.rows())
    throw DataError(fmt::format("{} has {} {} but {} has {} rows; one is needed for each row", source->name(),
                                source->rows(), what, rows.name(), rows.rows()));
  if (source->columns() != columns)
    throw DataError(fmt::format("{} has {} columns; {} need {}", source->name(), source->columns(), what, columns));
  return source;
}

std::unique_ptr<RowSource> open_weights(const FitInputs& inputs, IoExecutor& io, const std::string& name) {
  if (!inputs.sequences) return open_beside(*inputs.rows, io, name, 1, "weights");
  auto weights = std::make_unique<Hdf5Rows>(io, std::vector<std::string>{name});
  return std::make_unique<SequenceWeights>(std::move(weights), inputs.sequences);
}

}  // namespace

InitWords init_of(const FitRequest& request, const ModelEntry& entry) {
  const std::string& text = request.init.empty() ? entry.default_init : request.init;
  const auto colon = text.find(':');
  if (colon == std::string::npos) return {text, ""};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

std::string topology_file(const FitRequest& request) {
  const auto topology = request.model_options.find("topology");
  const bool in_file = topology != request.model_options.end() && topology->second.find(":/") != std::string::npos;
  return in_file ? topology->second : "";
}

std::unique_ptr<Model> make_fit_model(const ModelEntry& entry, const FitRequest& request, Index columns,
                                      const OptionValues& options) {
  return entry.make(entry.has_components ? request.components : 1, columns, options);
}

FitInputs open_fit_inputs(const FitRequest& request, const ModelEntry& entry, IoExecutor& io) {
  if (entry.has_components && request.components < 1)
    throw UsageError(entry.of_sequences ? "--states is needed: how many states to fit"
                                        : "--components is needed: how many components to fit");
  const InitWords init = init_of(request, entry);
  if (request.model_options.contains("count-transitions") && !init.from_rows())
    throw UsageError("--count-transitions needs --init labels:FILE:/PATH or responsibilities:FILE:/PATH: it is their "
                     "transitions that count");
  FitInputs inputs;
  inputs.rows = std::make_unique<Hdf5Rows>(io, request.data);
  const Hdf5Rows& rows = *inputs.rows;
  if (rows.rows() == 0) throw DataError(rows.name() + " has no rows");
  if (rows.columns() == 0) throw DataError(rows.name() + " has no columns");
  if (entry.has_components && rows.rows() < request.components && !(entry.of_sequences && init.from_file()))
    throw DataError(fmt::format("{} has {} rows, fewer than {} components; use fewer components", rows.name(),
                                rows.rows(), request.components));
  if (init.from_rows())
    inputs.given = open_beside(rows, io, init.place, init.way == "labels" ? 1 : request.components, init.way.c_str());
  if (!request.labels.empty()) inputs.given = open_beside(rows, io, request.labels, 1, "labels");
  inputs.model_options = read_options(request, io);
  inputs.model = make_fit_model(entry, request, rows.columns(), inputs.model_options);
  if (init.from_rows() && inputs.model->densities() != inputs.model->components())
    throw UsageError("--init " + init.way + " needs --mixtures 1: it says the state of a row, not which of its mixture");
  inputs.sequences = sequences_for(*inputs.model, io, request.lengths, rows.rows(), rows.name());
  if (!request.weights.empty()) inputs.weights = open_weights(inputs, io, request.weights);
  return inputs;
}

}  // namespace tally
