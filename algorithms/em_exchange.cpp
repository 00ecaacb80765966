#include "algorithms/em_exchange.hpp"

#include <algorithm>
#include <chrono>

#include "comm/in_seconds.hpp"
#include "comm/share.hpp"

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

void RankExchange::agree(const std::function<void()>& work) { tally::agree(communicator_, work); }

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
  const auto start = std::chrono::steady_clock::now();
  tally::share(communicator_, values);
  seconds_ += seconds_since(start);
}

}  // namespace tally
