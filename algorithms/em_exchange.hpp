#pragma once
#include <optional>
#include <vector>

#include "algorithms/message_exchange.hpp"
#include "comm/agreement.hpp"
#include "comm/communicator.hpp"
#include "core/error.hpp"
#include "core/shard.hpp"

namespace tally {

// Messages of cut sequences over a communicator.
class RankExchange final : public MessageExchange {
 public:
  // One sum tells all ranks where each one's blocks begin; none where no sequence is cut. Collective.
  RankExchange(const Shard& shard, Communicator& communicator);

  const std::vector<Index>& cuts() const noexcept override { return cuts_; }
  void agree(const std::function<void()>& work) override;
  void locally(const std::function<void()>& work) override;
  void share(std::span<double> values) override;

  // What work of this rank threw since the last `begin`.
  const std::optional<Failure>& failure() const noexcept { return failure_; }
  void begin() {
    failure_.reset();
    seconds_ = 0;
  }
  // Spent with the other ranks since then.
  double seconds() const noexcept { return seconds_; }
  void rethrow() const {
    if (failure_) throw_error(failure_->kind, failure_->message);
  }

 private:
  Communicator& communicator_;
  std::vector<Index> cuts_;
  std::optional<Failure> failure_;
  double seconds_ = 0;
};

}  // namespace tally
