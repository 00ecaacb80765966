#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "algorithms/em_fit.hpp"
#include "algorithms/em_scan.hpp"
#include "algorithms/model.hpp"
#include "core/io_executor.hpp"

namespace tally {

// How parameters are found in the sample.
enum class SampleStart {
  kmeans,            // k-means++ and Lloyd's iterations on the sample, then an M-step of its labels
  kmeans_plus_plus,  // the nearest of the k-means++ seeds as labels, then an M-step; for k-means the seeds themselves
  random,            // random responsibilities of the sample, then an M-step
  random_from_data   // distinct rows of the sample as locations, the sample's variances as spread
};

// The word of the command line: "kmeans", "k-means++", "random", "random-from-data". Throws UsageError.
SampleStart parse_sample_start(const std::string& word);

// Labels of the sample by components and restart: what starts of models of one number of components share.
using KeptLabels = std::map<std::pair<Index, int>, std::vector<double>>;

struct StartOptions {
  SampleStart start = SampleStart::kmeans;
  std::uint64_t seed = 0;
  int restart = 0;  // each restart draws other numbers
  int lanes = 1;
  KeptLabels* kept = nullptr;  // of starts from the same scan, seed and way; null: labels are found anew
};

// Start parameters of `model` from the sample, computed alike on every rank without any exchange. The model is
// standardised. Rows of the scan that are known to be of a component stand for it: k-means begins at their mean (Basu,
// Banerjee and Mooney, "Semi-supervised clustering by seeding", ICML 2002), random-from-data at one. Throws DataError
// where the sample has fewer distinct usable rows than needed or a component of it is singular.
std::vector<double> start_from_sample(const Model& model, const Scan& scan, const StartOptions& options,
                                      IoExecutor& io);

// So many starts; one that cannot be made is a candidate that failed, for the others may do better. Pulses between them.
std::vector<Candidate> starts_from_sample(const Model& model, const Scan& scan, StartOptions options, int restarts,
                                          IoExecutor& io, Communicator& communicator);

// Seeds by k-means++ (Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007): positions
// in the sample, each drawn with probability proportional to weight times squared distance from the nearest before it.
// `placed` (n, D) are centres that are there already: components - n seeds are chosen.
std::vector<Index> choose_seeds(const Sample& sample, Index columns, Index components, const StartOptions& options,
                                std::span<const double> placed = {});

}  // namespace tally
