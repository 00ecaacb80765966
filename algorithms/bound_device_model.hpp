#pragma once
#include <memory>
#include <vector>

#include "algorithms/model.hpp"
#include "core/device_engine.hpp"

namespace tally {

// A model whose blocks are computed by a device engine: standardises rows, hands them over and takes the sums. Blocks
// that the device has room for are handed over once.
class BoundDeviceModel final : public BoundModel {
 public:
  // `statistics` is the model's and must outlive this. Throws UsageError where sums are to be plain.
  BoundDeviceModel(std::unique_ptr<DeviceEngine> engine, const Layout& statistics, Index components,
                   const BindOptions& options);

  DeviceEngine& engine() noexcept { return *engine_; }

  void prepare(int candidate, std::span<const double> parameters) override;
  void accumulate(Shard& shard, std::span<const int> candidates, PassKind kind, Tally& tally,
                  const Shard::Pulse& pulse) override;
  DeviceCollective* sum_over_ranks() override { return engine_->sum_over_ranks(); }
  void before_sum(const Tally& tally) override;
  void after_sum(Tally& tally) override;
  void evaluate(Shard& shard, Wanted wanted, const VisitRows& visit, const Shard::Pulse& pulse) override;
  Index memory_bytes() const noexcept override { return engine_->memory_bytes(); }

 private:
  // Standardised rows of each block of the shard that is named, on the lanes.
  template <class Real, class Visit>
  void for_each_host_block(Shard& shard, std::span<const Index> blocks, bool weighted, const Visit& visit,
                           const Shard::Pulse& pulse) const;
  template <class Visit>
  void for_each_host_block(Shard& shard, std::span<const Index> blocks, bool weighted, const Visit& visit,
                           const Shard::Pulse& pulse) const;
  void take(Tally& tally, std::span<const int> candidates);

  std::unique_ptr<DeviceEngine> engine_;
  const Layout& statistics_;
  Index components_;
  Precision precision_;
  int lanes_, candidates_;
  std::vector<char> kept_;  // by local block: whether the device has it
};

// Binds a model to the device of the options, or to the CPU.
std::unique_ptr<BoundModel> bind_model(const Model& model, const BindOptions& options);

}  // namespace tally
