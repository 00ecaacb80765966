#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "algorithms/model.hpp"
#include "algorithms/registry.hpp"
#include "core/archive.hpp"
#include "core/standardisation.hpp"

namespace tally {

// What a model file says: everything in the user's units. docs/file_format.md.
struct ModelRecord {
  std::string model;
  Index components = 0;
  Index columns = 0;
  std::map<std::string, std::string> options;  // of the model: covariance, reg_covar
  NamedArrays parameters;
  Standardisation standardisation;
  std::string objective_name;
  std::vector<double> trace;
  Index batch_rows = 0;          // of a fit in steps, else 0
  double step_decay = 0;
  std::vector<double> held_out;  // mean objective of the rows held out, at each look
  std::string status;  // "converged", "fixed point", "iteration limit", or "unfinished"
  int iterations = 0;  // M-steps
  Index rows = 0;
  double total_weight = 0;
  Index free_parameters = 0;
  std::int64_t seed = 0;
  std::string precision;
  std::string data;            // name of the data set
  std::string fingerprint;     // of the data
  std::string cut;             // how sequences were cut, as words_of_cut says it
  std::string command_line;

  bool finished() const { return status != "unfinished"; }
};

// An integer of a file as an int. Throws DataError that names it where it is none.
int to_int(std::int64_t value, const std::string& name);

void write_record(ArchiveWriter& archive, const ModelRecord& record);
// Throws DataError where the file is no model of ours.
ModelRecord read_record(const ArchiveReader& archive);

// A model from a file, ready to be bound: standardised, its parameters read back.
struct LoadedModel {
  ModelRecord record;
  std::unique_ptr<Model> model;
  std::vector<double> parameters;
};
// Throws DataError: missing, damaged or foreign file; UsageError: a model this program does not know.
LoadedModel load_model(IoExecutor& io, const std::string& file, const Registry& registry);

}  // namespace tally
