#pragma once
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "algorithms/families/covariance_model.hpp"
#include "algorithms/model.hpp"
#include "core/layout.hpp"

namespace tally {

// Normal-inverse-Wishart priors of means and covariances, at the data's mean; the estimate is the mode of the posterior
// (Fraley and Raftery, Journal of Classification 24, 2007).
struct GaussianPrior {
  double mean_precision = 0;       // kappa: as many rows at the data's mean count in every mean; 0: none
  double degrees_of_freedom = 0;   // nu of the inverse Wishart, of inverse gammas where variances are apart; 0: none
  std::vector<double> covariance;  // its scale's diagonal, in the user's units squared: one number or one for each column;
                                   // empty: variances of the data over K^(2/D)

  bool on_means() const { return mean_precision > 0; }
  bool on_covariances() const { return degrees_of_freedom > 0; }
};

struct GaussianOptions {
  Covariance covariance = Covariance::full;
  double reg_covar = 1e-6;  // in the user's units squared, added to every diagonal after every M-step
  GaussianPrior prior = {};
  bool missing_values = false;  // NaN is a value that was not observed
};

// Multivariate normal components on standardised data, in exponential form: the log-density is the product of the
// monomials T(x) with natural parameters, -1/2 x' S^-1 x + x' S^-1 m + constant (Bishop, Pattern Recognition and
// Machine Learning, 2006, section 2.3). This is the host half, shared by all covariances.
class GaussianFamily {
 public:
  // `about_means`: the kernel is an EitherForm, whose sums may be about the components' means, which the statistics then say. Throws UsageError: numbers out of range,
  // priors of covariances that share parts.
  GaussianFamily(const GaussianOptions& options, Index components, Index columns, bool about_means = false);

  Index components() const noexcept { return components_; }
  Index columns() const noexcept { return columns_; }
  Domain domain() const noexcept { return Domain::real.with_missing(options_.missing_values); }
  CovarianceForm form() const noexcept { return form_; }
  std::map<std::string, std::string> options() const;
  // The scale of the covariances' prior, where nobody gave it.
  std::map<std::string, std::string> options_from(const DataSummary& summary) const;
  Scaling scaling() const noexcept;
  void set_standardisation(const Standardisation& standardisation) { standardisation_ = standardisation; }
  // With missing values, what the scaling of those that are there adds: null without.
  std::function<double(const double*)> log_base_measure() const;

  // "means" (K, D) and "covariances" by their form: full (K, D, D), tied (D, D), diag (K, D), spherical (K).
  void add_parameters(Layout& layout) const;
  // "moments" (K, width of T): sums of posterior weight times T(x); tied also "scatter": sums of weight times x x'. With missing
  // values, tied as full: what T(x) is expected to be, and "missing" (K, D): where the posterior is what was given, its weights of
  // values for which 0 stood; diag and spherical: of zeros for what is missing, then the posterior weights of what is observed
  // of each column. Where "about_means" (K) is not 0, a component's sums are about the mean that it had: of x - m_k in the place of x.
  void add_statistics(Layout& layout) const;
  // How wide T is.
  Index width() const noexcept;
  std::vector<double> bounds(const DataSummary& summary) const;
  void set_defaults(const Layout& layout, std::span<double> parameters) const;
  // Makes moments what they are expected to be with what is missing, given these parameters; without parameters, given what is
  // observed of each component.
  bool completes(bool at_start) const noexcept { return options_.missing_values && (at_start || !has_full_kernel()); }
  void complete(const Layout& statistics_layout, std::span<double> statistics, const Layout& layout,
                std::span<const double> parameters) const;
  // Covariances are about the means that `parameters` then holds, also where these are frozen.
  void maximize(const Layout& statistics_layout, std::span<const double> statistics, double total_weight,
                const Layout& layout, std::span<double> parameters, const std::set<std::string>& frozen = {}) const;
  Index free_parameters(const std::set<std::string>& frozen = {}) const;
  // Of each component (K): the first column in which its own covariance is no more than the ridge, or rounding, given the
  // columns before it; -1: none. Columns in which no data vary by more do not count. Where covariances are tied, share
  // parts, are frozen or have a prior, no component collapses by itself.
  std::vector<Index> collapsed_columns(const Layout& statistics_layout, std::span<const double> statistics,
                                       const Layout& layout, std::span<const double> parameters,
                                       const std::set<std::string>& frozen) const;
  // Makes components `from` and `to` the halves of `from`, along the axis of its largest variance: together they have its
  // mean and, where the form lets them, its covariance. Throws DataError where rounding leaves none.
  void split(const Layout& layout, std::span<double> parameters, Index from, Index to) const;
  bool is_common(const std::string& array) const { return array == "covariances" && form_ == CovarianceForm::tied; }
  // What one unit of weight adds to the log-likelihood on the way to the user's units.
  double objective_in_user_units(double objective, double weight) const;
  std::vector<std::string> warnings(const DataSummary& summary) const;

  void describe(const Layout& layout, std::span<const double> parameters, NamedArrays& arrays) const;
  void read(const Layout& layout, const NamedArrays& arrays, std::span<double> parameters) const;
  void start_at(const Layout& layout, MatrixView<const double> rows, const DataSummary& summary,
                std::span<double> parameters) const;
  // Mean and variance (K, D) in the user's units.
  Moments moments(const Layout& layout, std::span<const double> parameters) const;
  // Draws a value (D), in the user's units, of component k.
  using DrawValue = std::function<void(Index k, RandomKey key, Index row, double* out)>;
  DrawValue sampler(const Layout& layout, std::span<const double> parameters) const;

  // Natural parameters (K, coefficient_stride()), the constant first; tied: then the inverse of the Cholesky factor (D, D). With missing values,
  // full and tied: the precision matrix (D, D) after them; diag and spherical: the constants of the columns.
  Index coefficient_stride() const noexcept;
  Index coefficient_count() const noexcept;
  // Whether the kernel is that of full covariances, which tied ones have, too, where values are missing.
  bool has_full_kernel() const noexcept {
    return form_ == CovarianceForm::full || (form_ == CovarianceForm::tied && options_.missing_values);
  }
  bool has_tied_kernel() const noexcept { return form_ == CovarianceForm::tied && !has_full_kernel(); }
  void coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out) const {
    write_coefficients(layout, parameters, out, std::numeric_limits<double>::infinity());
  }
  // The same; but of components for which |L_k^-1 m_k|^2 is above `farthest`, where L_k L_k' is the covariance, coefficients about the
  // mean (tied: of all, where it is of one): the constant of the density, the mean (D) and, in the place of the quadratic ones, L_k^-1: its
  // lower rows, one behind the other; diag and spherical: 1 over the standard deviations; tied as above. Returns those components.
  std::vector<Index> either_coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out,
                                         double farthest) const;

 private:
  double reg(Index d) const;  // reg_covar, standardised
  void check_prior() const;
  double prior_scale(Index d) const;  // of the covariances' prior, standardised
  double prior_rows() const;          // how many rows' densities have the powers of a covariance that its priors have

  std::vector<Index> write_coefficients(const Layout& layout, std::span<const double> parameters, std::span<double> out,
                                        double farthest) const;
  bool are_about_mean(const Layout& statistics_layout, std::span<const double> statistics, Index component) const;

  struct Sums;
  // Its second moments (D) go to `second`.
  void maximize_covariance(const Sums& sums, std::span<double> covariance, std::span<double> second) const;
  // `shifts` (K, D): the means, less what the sums are about.
  void maximize_tied(MatrixView<const double> moments, std::span<const double> scatter, double total_weight,
                     MatrixView<const double> shifts, MatrixView<const double> means, bool about_other_means,
                     std::span<double> covariance) const;
  void complete_start(MatrixView<double> moments, MatrixView<const double> missing) const;
  // Sums of weight times x x', packed.
  std::vector<double> scatter_of(const Layout& statistics_layout, std::span<const double> statistics) const;
  // `origins` (K, D): what the moments are about.
  std::vector<Index> varying_columns(MatrixView<const double> moments, MatrixView<const double> origins) const;
  Index collapsed_column(const Sums& sums, std::span<const Index> columns) const;
  void check_covariance(Index component, std::span<const double> covariance, std::span<const double> second) const;
  void check_shared(std::span<const double> counts, std::span<const double> seconds,
                    std::span<const double> covariances) const;
  Index packed() const noexcept { return columns_ * (columns_ + 1) / 2; }
  // What the moments of a component have, and its coefficients.
  bool completes_rows() const noexcept { return options_.missing_values && has_full_kernel(); }
  bool observes_columns() const noexcept { return options_.missing_values && !has_full_kernel(); }
  Index moment_width() const noexcept { return width() + (observes_columns() ? columns_ : 0); }

  GaussianOptions options_;
  CovarianceForm form_;
  Index components_, columns_;
  bool about_means_;
  Standardisation standardisation_;
};

}  // namespace tally
