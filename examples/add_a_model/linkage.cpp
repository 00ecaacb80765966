#include "linkage.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "algorithms/cpu_backend.hpp"
#include "core/error.hpp"
#include "core/philox.hpp"

namespace linkage {
namespace {

using tally::CandidateWork;
using tally::DataError;
using tally::DataSummary;
using tally::Index;
using tally::Layout;
using tally::MatrixView;
using tally::NamedArrays;
using tally::Tile;

constexpr Index cells = 4;

// What the kernel reads of theta: the logarithms of the cells' probabilities (cells 2 and 3 share one), then the
// probability that somebody of cell 1 belongs to its second part.
enum Coefficient : Index { log_first, log_middle, log_last, share, coefficient_count };

// count log(probability), where 0 log(0) is 0.
double log_power(double log_probability, double count) { return count > 0 ? count * log_probability : 0; }

// The block half. It needs no features; its one posterior column is weight times share.
struct LinkageKernel {
  Index feature_width() const { return 0; }
  template <class Lane, class Real>
  void features(Lane&, const Tile<Real>&, MatrixView<Real>) const {}

  template <class Lane, class Real>
  void expect(Lane&, const Tile<Real>& tile, MatrixView<const Real>, CandidateWork<Real>& work,
              double* row_objectives, double* objective) const {
    const double* c = work.exact;
    for (Index i = 0; i < tile.rows(); ++i) {
      const double weight = tile.weights ? tile.weights[i] : 1;
      work.posterior(i, 0) = static_cast<Real>(weight * c[share]);
      const Real* y = tile.x.row(i);
      const double log_likelihood = (tile.offsets ? tile.offsets[i] : 0) + log_power(c[log_first], y[0]) +
                                    log_power(c[log_middle], y[1]) + log_power(c[log_middle], y[2]) +
                                    log_power(c[log_last], y[3]);
      if (row_objectives) row_objectives[i] = log_likelihood;
      if (weight > 0) *objective += weight * log_likelihood;
    }
  }

  template <class Lane, class Real>
  void add_statistics(Lane&, const Tile<Real>& tile, MatrixView<const Real>, const CandidateWork<Real>& work,
                      double* statistics) const {
    double &linked = statistics[0], &unlinked = statistics[1];
    for (Index i = 0; i < tile.rows(); ++i) {
      const double weight = tile.weights ? tile.weights[i] : 1;
      const Real* y = tile.x.row(i);
      linked += static_cast<double>(work.posterior(i, 0)) * y[0] + weight * y[3];
      unlinked += weight * y[1] + weight * y[2];
    }
  }

  template <class Lane, class Real>
  void take_given(Lane&, const Tile<Real>&, CandidateWork<Real>&) const {
    throw DataError("linkage has no components that labels could name; start it with --init parameters:FILE");
  }
  template <class Lane, class Real>
  void add_given_statistics(Lane&, const Tile<Real>&, MatrixView<const Real>, const CandidateWork<Real>&,
                            double*) const {}

  template <class Real>
  void labels(const Tile<Real>& tile, const CandidateWork<Real>&, std::int32_t* out) const {
    std::fill_n(out, tile.rows(), 0);
  }
  template <class Real>
  void responsibilities(const Tile<Real>& tile, const CandidateWork<Real>& work, double* out) const {
    for (Index i = 0; i < tile.rows(); ++i) out[i] = static_cast<double>(work.posterior(i, 0));
  }
};

// The host half.
class Linkage final : public tally::Model {
 public:
  Linkage() {
    parameters_.add("theta", {1});
    statistics_.add("linked", {1}).add("unlinked", {1});
  }

  std::string name() const override { return "linkage"; }
  Index components() const noexcept override { return 1; }
  Index columns() const noexcept override { return cells; }
  std::map<std::string, std::string> options() const override { return {}; }
  tally::Domain domain() const noexcept override { return tally::Domain::counts; }
  tally::Scaling scaling() const noexcept override { return tally::Scaling::none; }
  void set_standardisation(tally::Standardisation standardisation) override {
    standardisation_ = std::move(standardisation);
  }
  const tally::Standardisation& standardisation() const noexcept override { return standardisation_; }

  // The multinomial coefficient: log((y1 + ... + y4)! / (y1! ... y4!)).
  std::function<double(const double*)> log_base_measure() const override {
    return [](const double* y) {
      const auto log_factorial = [](double n) {
        int sign = 0;
        return ::lgamma_r(n + 1, &sign);
      };
      double total = 0, sum = 0;
      for (Index d = 0; d < cells; ++d) {
        total += y[d];
        sum -= log_factorial(y[d]);
      }
      return sum + log_factorial(total);
    };
  }

  const Layout& parameters() const noexcept override { return parameters_; }
  const Layout& statistics() const noexcept override { return statistics_; }
  std::vector<double> bounds(const DataSummary& summary) const override {
    return {summary.maximum[0] + summary.maximum[3], summary.maximum[1] + summary.maximum[2]};
  }

  // theta is the linked part of all who are linked or unlinked; the first part of cell 1 says nothing about it.
  void maximize(std::span<const double> statistics, double, std::span<double> parameters) const override {
    const double linked = statistics[0], unlinked = statistics[1];
    if (linked + unlinked > 0) parameters[0] = linked / (linked + unlinked);
  }
  void set_defaults(std::span<double> parameters) const override { parameters[0] = 0.5; }

  double objective_in_user_units(double objective, double) const override { return objective; }
  Index free_parameters() const noexcept override { return 1; }

  NamedArrays describe(std::span<const double> parameters) const override {
    return {{"theta", {{1}, {parameters[0]}}}};
  }
  void read(const NamedArrays& arrays, std::span<double> parameters) const override {
    for (const auto& [name, array] : arrays) {
      if (name != "theta") throw DataError("start parameter '" + name + "' is not one of linkage: theta");
      if (array.values.size() != 1) throw DataError("start parameter 'theta' has the wrong shape: (1) is needed");
      if (!(array.values[0] >= 0 && array.values[0] <= 1))
        throw DataError("start parameter 'theta' is not within 0 to 1");
      parameters[0] = array.values[0];
    }
  }
  // The estimate by moments, (y1 - y2 - y3 + y4) / n, kept off the ends, which EM never leaves.
  void start_at(MatrixView<const double> rows, const DataSummary&, std::span<double> parameters) const override {
    const double* y = rows.row(0);
    const double total = y[0] + y[1] + y[2] + y[3];
    parameters[0] = total > 0 ? std::clamp((y[0] - y[1] - y[2] + y[3]) / total, 0.01, 0.99) : 0.5;
  }
  // One offspring a row: a 1 in its cell.
  tally::Sampler sampler(std::span<const double> parameters) const override {
    return [theta = parameters[0]](tally::RandomKey key, Index row, double* out) {
      const double u = tally::uniform(key, static_cast<std::uint64_t>(row), 0);
      const double ends[] = {0.5 + theta / 4, 0.75, 1 - theta / 4, 1};
      std::fill_n(out, cells, 0.0);
      out[std::upper_bound(ends, ends + cells - 1, u) - ends] = 1;
      return Index{0};
    };
  }

  std::unique_ptr<tally::BoundModel> bind(const tally::BindOptions& options) const override {
    const tally::Coefficients coefficients{
        coefficient_count, [](std::span<const double> parameters, std::span<double> out) {
          const double theta = parameters[0];
          out[log_first] = std::log(0.5 + theta / 4);
          out[log_middle] = std::log((1 - theta) / 4);
          out[log_last] = std::log(theta / 4);
          out[share] = theta / (2 + theta);
        }};
    return tally::bind_to_cpu(LinkageKernel{}, coefficients, statistics_, components(), options);
  }

 private:
  tally::Standardisation standardisation_ = tally::Standardisation::none(cells);
  Layout parameters_, statistics_;
};

}  // namespace

std::unique_ptr<tally::Model> make_linkage(Index columns) {
  if (columns != cells)
    throw DataError("the data have " + std::to_string(columns) + " columns; linkage takes the counts of 4 cells");
  return std::make_unique<Linkage>();
}

tally::ModelEntry linkage_entry() {
  tally::ModelEntry entry;
  entry.name = "linkage";
  entry.summary = "genetic linkage in four cells (Dempster, Laird and Rubin 1977)";
  entry.make = [](Index, Index columns, const tally::OptionValues&) { return make_linkage(columns); };
  entry.default_tolerance = 1e-12;
  entry.has_components = false;
  return entry;
}

}  // namespace linkage
