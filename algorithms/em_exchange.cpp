#include "algorithms/em_exchange.hpp"

#include <algorithm>
#include <bit>

namespace tally {

RankExchange::RankExchange(const Shard& shard, Communicator& communicator) : communicator_(communicator) {
  if (shard.plan().cut_piece_count() == 0) return;
  std::vector<std::int64_t> firsts(static_cast<std::size_t>(communicator.size()), 0);
  if (shard.block_count() > 0) firsts[static_cast<std::size_t>(communicator.rank())] = shard.first_block();
  communicator.sum(firsts);
  std::sort(firsts.begin(), firsts.end());
  firsts.erase(std::unique(firsts.begin(), firsts.end()), firsts.end());
  std::erase(firsts, 0);
  cuts_.assign(firsts.begin(), firsts.end());
}

void RankExchange::locally(const std::function<void()>& work) {
  if (failure_) return;
  try {
    work();
  } catch (const CommunicationError&) {
    throw;
  } catch (const RelayedFailure&) {
    throw;
  } catch (...) {
    failure_ = describe_failure(std::current_exception());
  }
}

void RankExchange::share(std::span<double> values) {
  bits_.resize(values.size());
  std::transform(values.begin(), values.end(), bits_.begin(),
                 [](double value) { return std::bit_cast<std::int64_t>(value); });
  communicator_.sum(bits_);
  std::transform(bits_.begin(), bits_.end(), values.begin(),
                 [](std::int64_t bits) { return std::bit_cast<double>(bits); });
}

}  // namespace tally
