#pragma once
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "algorithms/chain_messages.hpp"
#include "algorithms/model.hpp"
#include "core/device_engine.hpp"

namespace tally {

// A model whose blocks are computed by a device engine: standardises rows, hands them over and takes the sums. Blocks
// that the device has room for are handed over once.
class BoundDeviceModel final : public BoundModel {
 public:
  // `statistics` is the model's and must outlive this. Throws UsageError where sums are to be plain.
  // `counts_given`: of sequences, states that were given count as transitions, too.
  BoundDeviceModel(std::unique_ptr<DeviceEngine> engine, const Layout& statistics, Index components,
                   const BindOptions& options, bool counts_given = false);

  DeviceEngine& engine() noexcept { return *engine_; }

  void prepare(int candidate, std::span<const double> parameters) override;
  void exchange_messages(Shard& shard, std::span<const int> candidates, PassKind kind, MessageExchange& exchange,
                         const Shard::Pulse& pulse) override;
  void accumulate(Shard& shard, std::span<const int> candidates, PassKind kind, Tally& tally,
                  const Shard::Pulse& pulse) override;
  Index impossible_row(int candidate) const override;
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
  // Calls with_kept(lane, block) for those of these blocks that the device has, and with_rows(lane, block, host block),
  // which tells whether the device has them from then on, for the others.
  template <class WithKept, class WithRows>
  void for_each_block(Shard& shard, std::span<const Index> blocks, const WithKept& with_kept, const WithRows& with_rows,
                      const Shard::Pulse& pulse);
  void compose(Shard& shard, std::span<const int> candidates, PassKind kind, const Shard::Pulse& pulse);
  void find_given(Shard& shard, const Shard::Pulse& pulse);
  void take(Tally& tally, std::span<const int> candidates);

  std::unique_ptr<DeviceEngine> engine_;
  const Layout& statistics_;
  Index components_;
  Precision precision_;
  int lanes_, candidates_;
  bool counts_given_;
  ChainMessages messages_;
  std::optional<ChainProducts> products_;
  std::vector<char> kept_;  // by local block: whether the device has it
  std::optional<Index> impossible_row_;  // of rows that were evaluated last; -1: none
};

// Binds a model to the device of the options, or to the CPU.
std::unique_ptr<BoundModel> bind_model(const Model& model, const BindOptions& options);

}  // namespace tally
