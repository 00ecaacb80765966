#include "algorithms/em_entropy.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "algorithms/block_by_block.hpp"
#include "algorithms/bound_device_model.hpp"
#include "comm/agreement.hpp"
#include "core/error.hpp"
#include "core/full_range_sum.hpp"

namespace tally {
namespace {

// Of a block's responsibilities (rows, K).
double entropy_of(const StoredBlock& block, const double* responsibilities, Index K) {
  double sum = 0;
  for (Index i = 0; i < block.rows; ++i) {
    const double weight = block.weights ? block.weights[i] : 1;
    if (weight == 0) continue;
    double row = 0;
    for (Index k = 0; k < K; ++k)
      if (const double r = responsibilities[i * K + k]; r > 0) row -= r * std::log(r);
    sum += weight * row;
  }
  return sum;
}

}  // namespace

std::vector<double> assignment_entropies(std::span<const FittedModel> fitted, Shard& shard, const FitOptions& options,
                                         Communicator& communicator) {
  const std::size_t models = fitted.size(), limb_count = FullRangeSum::limb_count;
  std::vector<std::int64_t> limbs(models * limb_count, 0);  // of each model's sum
  agree(communicator, [&] {
    std::vector<Preparation> preparations;
    std::vector<std::unique_ptr<BoundModel>> bound;
    std::vector<BlockByBlock*> takers;
    for (const FittedModel& each : fitted) {
      preparations.push_back({each.model->standardisation(), each.model->log_base_measure()});
      bound.push_back(bind_model(*each.model, {options.precision, shard.lanes(), 1, options.summation}));
      bound.back()->prepare(0, *each.parameters);
      takers.push_back(dynamic_cast<BlockByBlock*>(bound.back().get()));
      if (!takers.back()) throw UsageError("entropies are of models whose rows are independent");
    }
    for (std::size_t m = 0; m < models; ++m)
      takers[m]->begin_rows(shard.preparation() ? *shard.preparation() : preparations[m]);

    std::vector<std::vector<FullRangeSum>> sums(static_cast<std::size_t>(shard.lanes()), std::vector<FullRangeSum>(models));
    shard.for_each_block(
        [&](int lane, const StoredBlock& block) {
          for (std::size_t m = 0; m < models; ++m)
            takers[m]->evaluate(lane, block, {.responsibilities = true}, [&](Index, Index, const RowResults& results) {
              const double entropy = entropy_of(block, results.responsibilities, fitted[m].model->components());
              if (!sums[static_cast<std::size_t>(lane)][m].add(entropy))
                throw DataError("the entropy of the responsibilities is beyond the range of double");
            });
        },
        [&] { communicator.pulse(); });
    for (std::size_t m = 0; m < models; ++m) {
      FullRangeSum sum;
      for (const auto& of_lane : sums) sum.merge(of_lane[m]);
      sum.carry();
      std::copy(sum.limbs().begin(), sum.limbs().end(), limbs.data() + m * limb_count);
    }
  });
  communicator.sum(limbs);

  std::vector<double> result;
  for (std::size_t m = 0; m < models; ++m) {
    FullRangeSum sum;
    std::copy_n(limbs.data() + m * limb_count, limb_count, sum.limbs().begin());
    sum.carry();
    result.push_back(sum.value());
  }
  return result;
}

}  // namespace tally
