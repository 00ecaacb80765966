#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/view.hpp"

namespace tally {

// Information criteria of a model with `free_parameters` that gives data of this weight this log-likelihood, the smaller the
// better: AIC = 2 p - 2 L (Akaike 1974) and BIC = p log n - 2 L (Schwarz, "Estimating the dimension of a model", Annals of
// Statistics 6, 1978).
double aic_of(double log_likelihood, Index free_parameters);
double bic_of(double log_likelihood, Index free_parameters, double weight);

// A model that was fitted to be compared with others.
struct Comparison {
  std::string shape;  // the values of its options that differ between models: "full"
  Index components = 0;
  std::string status;   // why its best start stopped; "failed" where all did
  std::string failure;  // of the first start; empty otherwise
  int best_start = 0, failed_starts = 0, iterations = 0;
  Index free_parameters = 0;
  double log_likelihood = 0, entropy = 0, aic = 0, bic = 0;
  // BIC + 2 entropy: the integrated completed likelihood with weighted assignments, the smaller the better (Biernacki, Celeux
  // and Govaert, "Assessing a mixture model for clustering with the integrated completed likelihood", IEEE PAMI 22, 2000;
  // McLachlan and Peel, "Finite Mixture Models", 2000, section 6.10.3).
  double icl = 0;

  bool failed() const noexcept { return status == "failed"; }
};

enum class Criterion { aic, bic, icl };
// "aic", "bic", "icl". Throws UsageError.
Criterion parse_criterion(const std::string& word);
const char* to_string(Criterion criterion);
double value_of(const Comparison& comparison, Criterion criterion);

// The smallest value, the first of equals; nothing where all failed.
std::optional<std::size_t> best_of(const std::vector<Comparison>& comparisons, Criterion criterion);

// A line for each, the best marked.
std::string table_of(const std::vector<Comparison>& comparisons, Criterion criterion);
// The criterion over the number of components as SVG, a curve for each shape, the best marked.
std::string plot_of(const std::vector<Comparison>& comparisons, Criterion criterion, const std::string& title);

// "1:10", "2:20:2" (from, to, step), "3,5,8:10": the numbers in the order of size, each once. Throws UsageError.
std::vector<Index> parse_components(const std::string& text);

}  // namespace tally
