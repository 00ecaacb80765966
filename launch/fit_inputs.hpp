#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "algorithms/em_fit.hpp"
#include "algorithms/model.hpp"
#include "algorithms/registry.hpp"
#include "core/hdf5_rows.hpp"
#include "core/sequences.hpp"

namespace tally {

// Everything `tally fit` was asked for.
struct FitRequest {
  std::string model;
  std::vector<std::string> data;
  std::string weights;
  std::string lengths;  // of sequences; empty: one sequence
  std::string labels;   // of steps whose state is known; empty: none is
  Index components = 0;
  OptionValues model_options;
  std::string init;  // empty: the model's default
  int restarts = 1;
  std::int64_t seed = 0;
  FitOptions fit;
  int threads = 0;   // 0: the processors of this rank
  std::string device = "cpu";
  Index memory = 0;  // bytes; 0: 70 % of what is available
  std::string out;
  std::string checkpoint_folder;
  int checkpoint_every = 10;
  bool resume = false;
  bool quiet = false;
  bool json = false;
  std::string log_file;
  std::string times_file;  // where each rank's times of every iteration go; empty: nowhere
};

// How a fit starts: "labels:f.h5:/y" is a way and a place, "kmeans" a way alone.
struct InitWords {
  std::string way;
  std::string place;

  bool from_rows() const { return way == "labels" || way == "responsibilities"; }
  bool from_file() const { return from_rows() || way == "parameters" || way == "model"; }
};
InitWords init_of(const FitRequest& request, const ModelEntry& entry);

// The data set "FILE:/PATH" that holds a topology; empty where the topology is a word.
std::string topology_file(const FitRequest& request);

// What a fit reads, and the model of that shape, which the data's values may decide more of.
struct FitInputs {
  std::unique_ptr<Hdf5Rows> rows;
  std::unique_ptr<RowSource> weights;          // null: all 1
  std::unique_ptr<Hdf5Rows> given;             // known labels, or what the start is made from; null: none
  std::shared_ptr<const Sequences> sequences;  // null: rows are independent
  OptionValues model_options;
  std::unique_ptr<Model> model;
};

// Opens the data sets of this request. Throws DataError or UsageError: missing, or of shapes that do not go together.
FitInputs open_fit_inputs(const FitRequest& request, const ModelEntry& entry, IoExecutor& io);

std::unique_ptr<Model> make_fit_model(const ModelEntry& entry, const FitRequest& request, Index columns,
                                      const OptionValues& options);

}  // namespace tally
