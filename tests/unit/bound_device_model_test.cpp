#include "algorithms/bound_device_model.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "algorithms/cpu_backend.hpp"
#include "algorithms/families/bernoulli.hpp"
#include "algorithms/families/categorical.hpp"
#include "algorithms/families/centroid.hpp"
#include "algorithms/families/gaussian.hpp"
#include "algorithms/families/gaussian_kernels.hpp"
#include "algorithms/families/poisson.hpp"
#include "algorithms/lane_backend.hpp"
#include "algorithms/latent/hard.hpp"
#include "algorithms/latent/mixture.hpp"
#include "algorithms/pair_model.hpp"
#include "core/memory_rows.hpp"
#include "tests/unit/late_lane.hpp"

namespace tally {
namespace {

constexpr Index K = 3, D = 4, rows = 700, rows_per_block = 300;

GaussianFamily gaussian(Covariance covariance) {
  GaussianOptions options;
  options.covariance = covariance;
  return GaussianFamily(options, K, D);
}

using OnDevice = LaneBackend<LateLane>;
using OnHost = LaneBackend<GenericLane>;

struct Mixed {
  static Mixture latent() { return Mixture(K); }
};
struct Full : Mixed {
  static GaussianFamily family() { return gaussian(Covariance::full); }
  static GaussianFullKernel kernel() { return {{K, family().width()}}; }
};
struct Tied : Mixed {
  static GaussianFamily family() { return gaussian(Covariance::tied); }
  static GaussianTiedKernel kernel() { return {K, D}; }
};
struct Diag : Mixed {
  static GaussianFamily family() { return gaussian(Covariance::diag); }
  static GaussianDiagKernel kernel() { return {{K, family().width()}}; }
};
struct Spherical : Mixed {
  static GaussianFamily family() { return gaussian(Covariance::spherical); }
  static GaussianSphericalKernel kernel() { return {{K, family().width()}}; }
};
struct Poisson : Mixed {
  static PoissonFamily family() { return {K, D}; }
  static PoissonKernel kernel() { return {{K, 1 + D}}; }
};
struct Bernoulli : Mixed {
  static BernoulliFamily family() { return {{}, K, D}; }
  static BernoulliKernel kernel() { return {{K, family().width()}}; }
};
struct Categorical : Mixed {
  static constexpr Index symbols = 61;
  static CategoricalFamily family() { return {{symbols}, K, D}; }
  static CategoricalKernel kernel() { return {K, D, symbols}; }
};
struct Kmeans {
  static Hard latent() { return Hard(K); }
  static CentroidFamily family() { return {K, D}; }
  static CentroidKernel kernel() { return {K, D}; }
};

template <class Case, class RunsOn>
auto make_model(RunsOn runs_on) {
  return PairModel("model", Case::latent(), Case::family(), Case::kernel(), {}, runs_on);
}

// Sums of hundreds of rows in another order, products in another order, another exponential; in tf32 logits whose terms
// are off by 2^-10, up to a tenth of a unit here.
double tolerance_of(Precision precision) {
  return precision == Precision::double_precision ? 1e-11 : precision == Precision::single_precision ? 1e-3 : 0.1;
}

void expect_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_NEAR(a[i], b[i], tolerance * std::max(1.0, std::abs(b[i]))) << "element " << i;
}

// Counts, or bits where the model takes no more, with weights 0, 1 and 2, labels in turn, the last block ragged.
struct Data {
  std::vector<double> values, weights, labels;
  DataSummary summary;
  explicit Data(Domain domain) {
    std::mt19937_64 engine(5);
    std::poisson_distribution<int> counts[] = {std::poisson_distribution<int>(2),
                                               std::poisson_distribution<int>(9),
                                               std::poisson_distribution<int>(30)};
    summary.rows = rows;
    summary.columns = D;
    summary.mean.assign(D, domain.takes(13) ? 13 : 0.5);
    summary.minimum.assign(D, 0);
    summary.maximum.assign(D, std::min(60.0, domain.largest));
    summary.variance.assign(D, 150);
    for (Index i = 0; i < rows; ++i) {
      for (Index d = 0; d < D; ++d) {
        const int count = counts[(i + (d == 1)) % K](engine);
        values.push_back(domain.takes(count) ? count : std::min<double>(count % 2, domain.largest));
      }
      weights.push_back(static_cast<double>(i % 5 == 0 ? 0 : 1 + i % 2));
      labels.push_back(static_cast<double>(i % K));
    }
    summary.total_weight = 0;
    for (const double weight : weights) summary.total_weight += weight;
  }
};

struct Sums {
  double objective;
  std::vector<double> statistics;
};

class Fixture {
 public:
  Fixture(Precision precision, Domain domain) : data_(domain), precision_(precision) {
    const Inputs inputs{&source_, &weights_, &labels_};
    shard_.emplace(io_, inputs, BlockPlan::uniform(rows, rows_per_block), ShardRange{0, 3},
                   Shard::Options{0, precision, 1});
  }
  void prepare(Model& model) {
    Standardisation standardisation = Standardisation::none(D);
    if (model.domain().takes_any())
      standardisation.centre.assign(D, 13), standardisation.exponent.assign(D, 5);
    model.set_standardisation(standardisation);
    shard_->prepare({standardisation, model.log_base_measure()}, nullptr);
  }
  BindOptions options() const { return {precision_, 1, 2}; }
  Tally tally_of(const Model& model, BoundModel& bound, PassKind kind) {
    std::vector<Grid> grids;
    for (const double most : model.bounds(data_.summary)) grids.push_back(make_grid(most * 2 * rows, 20));
    Tally tally(2, model.statistics(), grids);
    const int candidates[] = {0, 1};
    bound.accumulate(*shard_, candidates, kind, tally, nullptr);
    return tally;
  }
  // Of candidate 1, whose neighbour must not disturb it.
  Sums accumulate(const Model& model, BoundModel& bound, PassKind kind) {
    const Tally tally = tally_of(model, bound, kind);
    Sums sums{tally.objective(1), std::vector<double>(static_cast<std::size_t>(model.statistics().size()))};
    tally.statistics(1, sums.statistics);
    EXPECT_EQ(tally.counter(Tally::rows), rows);
    EXPECT_EQ(tally.counter(Tally::misfits), 0);
    EXPECT_EQ(tally.non_finite(1), 0);
    return sums;
  }
  Shard& shard() { return *shard_; }
  const Data& data() const { return data_; }

 private:
  Data data_;
  MemoryRows source_{MatrixView<const double>(data_.values.data(), rows, D)};
  MemoryRows weights_{MatrixView<const double>(data_.weights.data(), rows, 1)};
  MemoryRows labels_{MatrixView<const double>(data_.labels.data(), rows, 1)};
  IoExecutor io_;
  Precision precision_;
  std::optional<Shard> shard_;
};

struct PerRow {
  std::vector<std::int32_t> labels = std::vector<std::int32_t>(rows, -1);
  std::vector<double> objectives = std::vector<double>(rows),
                      responsibilities = std::vector<double>(rows * K);
};

PerRow evaluate(BoundModel& bound, Shard& shard) {
  PerRow result;
  const auto copy = [&](Index first, Index count, const RowResults& block) {
    std::copy_n(block.labels, count, result.labels.begin() + first);
    std::copy_n(block.objectives, count, result.objectives.begin() + first);
    std::copy_n(block.responsibilities, count * K, result.responsibilities.begin() + first * K);
  };
  bound.evaluate(shard, {true, true, true}, copy, nullptr);
  return result;
}

template <class Case>
class BoundDeviceModels : public testing::Test {};
using Cases = testing::Types<Full, Tied, Diag, Spherical, Poisson, Bernoulli, Categorical, Kmeans>;
TYPED_TEST_SUITE(BoundDeviceModels, Cases);

// A first M-step from labels, then an E-step, then results per row: as on the CPU, and no device memory
// touched.
TYPED_TEST(BoundDeviceModels, AgreeWithTheCpu) {
  for (const Precision precision : {Precision::double_precision, Precision::single_precision, Precision::tf32}) {
    SCOPED_TRACE(name_of(precision));
    const double tolerance = tolerance_of(precision);
    Fixture fixture(precision, TypeParam::family().domain());
    auto reference = make_model<TypeParam>(CpuBackend{}), model = make_model<TypeParam>(OnDevice{});
    fixture.prepare(reference);
    model.set_standardisation(reference.standardisation());
    const auto expected_bound = reference.bind(fixture.options()), bound = model.bind(fixture.options());
    const Data& data = fixture.data();

    const Sums given = fixture.accumulate(model, *bound, PassKind::given);
    const Sums expected_given = fixture.accumulate(reference, *expected_bound, PassKind::given);
    expect_close(given.statistics, expected_given.statistics, tolerance);

    std::vector<double> fitted(static_cast<std::size_t>(model.parameters().size()));
    reference.set_defaults(fitted);
    reference.maximize(expected_given.statistics, data.summary.total_weight, fitted);
    std::vector<double> start(fitted.size());
    const MatrixView<const double> first_rows(data.values.data(), K, D);
    reference.start_at(first_rows, data.summary, start);
    for (BoundModel* each : {bound.get(), expected_bound.get()}) {
      each->prepare(0, start);
      each->prepare(1, fitted);
    }
    const Sums sums = fixture.accumulate(model, *bound, PassKind::expectation);
    const Sums expected = fixture.accumulate(reference, *expected_bound, PassKind::expectation);
    expect_close(sums.statistics, expected.statistics, tolerance);
    EXPECT_NEAR(sums.objective, expected.objective, tolerance * std::abs(expected.objective));

    const PerRow per_row = evaluate(*bound, fixture.shard());
    const PerRow expected_per_row = evaluate(*expected_bound, fixture.shard());
    EXPECT_EQ(per_row.labels, expected_per_row.labels);
    expect_close(per_row.objectives, expected_per_row.objectives, tolerance);
    expect_close(per_row.responsibilities, expected_per_row.responsibilities, tolerance);
    EXPECT_GT(bound->memory_bytes(), 0);
  }
}

TEST(BoundDeviceModel, ACandidateWhoseStatisticsAreNotFiniteIsToldFromItsNeighbour) {
  Fixture fixture(Precision::double_precision, Poisson::family().domain());
  auto reference = make_model<Poisson>(CpuBackend{}), model = make_model<Poisson>(OnDevice{});
  fixture.prepare(reference);
  model.set_standardisation(reference.standardisation());
  std::vector<double> start(static_cast<std::size_t>(model.parameters().size()));
  model.start_at({fixture.data().values.data(), K, D}, fixture.data().summary, start);
  const std::vector<double> broken(start.size(), std::numeric_limits<double>::quiet_NaN());

  std::vector<std::vector<std::int64_t>> counts;
  for (Model* each : std::initializer_list<Model*>{&reference, &model}) {
    const auto bound = each->bind(fixture.options());
    bound->prepare(0, broken);
    bound->prepare(1, start);
    const Tally tally = fixture.tally_of(*each, *bound, PassKind::expectation);
    counts.push_back({tally.non_finite(0), tally.non_finite(1), tally.counter(Tally::misfits)});
  }

  EXPECT_EQ(counts[0], counts[1]);
  EXPECT_GT(counts[1][0], model.statistics().size());
  EXPECT_EQ(counts[1][1], 0);
}

// How blocks are dealt out: nothing of it may change a bit.
struct Cut {
  int lanes = 1;
  Index kept_blocks = 0;
  LateDevice::Behind behind = LateDevice::Behind::copies;
};

// Passes over blocks by a model's engine, and the bits of their sums.
template <class Real>
class EnginePasses {
 public:
  EnginePasses(Model& model, const Cut& cut) : data_(model.domain()), model_(model), cut_(cut), kept_(block_count) {
    LateDevice::instance().choose(cut.behind);
    model.set_standardisation(Standardisation::none(D));
    BindOptions options{sizeof(Real) == 8 ? Precision::double_precision : Precision::single_precision, cut.lanes, 2};
    options.row_memory = std::max<Index>(1, cut.kept_blocks * block_rows * (D * static_cast<Index>(sizeof(Real)) + 8));
    bound_ = model.bind(options);
    for (const double most : model.bounds(data_.summary)) grids_.push_back(make_grid(most * 2 * rows, 20));
  }

  // A first M-step from labels, then E-steps under other parameters each. Blocks move on by one lane from pass to pass,
  // so that lanes meet what others left; the last pass leaves lanes without any.
  std::vector<std::int64_t> sums() {
    run(PassKind::given, {0, 1}, block_count);
    run(PassKind::expectation, {0, 1}, block_count);
    run(PassKind::expectation, {1}, block_count);
    run(PassKind::expectation, {0, 1}, 1);
    EXPECT_EQ(std::count(kept_.begin(), kept_.end(), true), cut_.kept_blocks);
    return sums_;
  }

  static constexpr Index block_count = 11;

 private:
  static constexpr Index block_rows = 64, last_rows = 37;

  void run(PassKind kind, const std::vector<std::int32_t>& candidates, Index blocks) {
    DeviceEngine& engine = dynamic_cast<BoundDeviceModel&>(*bound_).engine();
    std::vector<double> parameters(static_cast<std::size_t>(model_.parameters().size()));
    for (const std::int32_t candidate : candidates) {
      const double* const rows_to_start_at = data_.values.data() + (pass_ + K * candidate) * D;
      model_.start_at(MatrixView<const double>(rows_to_start_at, K, D), data_.summary, parameters);
      engine.prepare(candidate, parameters);
    }
    engine.begin(candidates, grids_, blocks);
    for (Index block = 0; block < blocks; ++block) add(engine, block, kind);
    engine.finish();
    ++pass_;
    std::vector<std::int64_t> buffer(static_cast<std::size_t>(Tally::buffer_size(2, model_.statistics())));
    engine.read(0, buffer);
    sums_.insert(sums_.end(), buffer.begin(), buffer.end());
    std::vector<double> objectives = engine.objectives();
    std::sort(objectives.begin(), objectives.end());
    for (const double objective : objectives) sums_.push_back(std::bit_cast<std::int64_t>(objective));
  }

  void add(DeviceEngine& engine, Index number, PassKind kind) {
    const int lane = static_cast<int>((number + pass_) % cut_.lanes);
    const auto at = static_cast<std::size_t>(number);
    if (kept_[at]) return engine.add_kept(lane, number);
    HostBlock block;
    block.first_row = number * block_rows;
    block.rows = number + 1 < block_count ? block_rows : last_rows;
    block.columns = D;
    block.x = x_.data() + block.first_row * D;
    block.weights = data_.weights.data() + block.first_row;
    if (kind == PassKind::given) {
      block.given = data_.labels.data() + block.first_row;
      block.given_columns = 1;
    }
    kept_[at] = engine.add(lane, block, kind == PassKind::given ? -1 : number);
  }

  const Data data_;
  const std::vector<Real> x_{data_.values.begin(), data_.values.end()};
  Model& model_;
  Cut cut_;
  std::vector<bool> kept_;
  std::unique_ptr<BoundModel> bound_;
  std::vector<Grid> grids_;
  Index pass_ = 0;
  std::vector<std::int64_t> sums_;
};

template <class Case, class Real>
void expect_same_bits_on_a_late_device() {
  auto reference = make_model<Case>(OnHost{}), model = make_model<Case>(OnDevice{});
  const std::vector<std::int64_t> expected = EnginePasses<Real>(reference, {}).sums();
  for (const auto behind : {LateDevice::Behind::copies, LateDevice::Behind::work})
    for (const int lanes : {1, 4})
      for (const Index kept_blocks : {Index{0}, Index{4}, EnginePasses<Real>::block_count}) {
        const std::vector<std::int64_t> sums = EnginePasses<Real>(model, {lanes, kept_blocks, behind}).sums();
        EXPECT_TRUE(sums == expected) << lanes << " lanes, " << kept_blocks << " blocks kept, "
                                      << (behind == LateDevice::Behind::copies ? "copies" : "work") << " behind";
      }
}

// A device that is always late needs every wait and every event.
TYPED_TEST(BoundDeviceModels, DoNotDependOnLanesOnRowsKeptOrOnWhatIsLate) {
  expect_same_bits_on_a_late_device<TypeParam, double>();
  expect_same_bits_on_a_late_device<TypeParam, float>();
}

TEST(GuardedMemoryDeathTest, TheHostCannotReadIt) {
  LateMemory<double> memory;
  memory.reserve(1);

  EXPECT_DEATH(
      {
        volatile double value = memory.data()[0];
        (void)value;
      },
      "");
}

}  // namespace
}  // namespace tally
