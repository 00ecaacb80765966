#include "launch/bench/machine_ceilings.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>

#include "launch/bench/check.hpp"
#include "launch/bench/spread.hpp"

namespace tally::bench {

void Ceiling::measure(Communicator& communicator, const std::function<Seconds()>& work_of_rank) {
  communicator.barrier();
  const Seconds mine = work_of_rank();
  std::vector<Seconds> all;
  for (const auto& bytes : communicator.gather(std::as_bytes(std::span(&mine, 1))))
    std::memcpy(&all.emplace_back(), bytes.data(), sizeof mine);
  samples_.push_back(std::move(all));
}

std::vector<double> Ceiling::best_rates() const {
  std::vector<double> rates(samples_.empty() ? 0 : samples_.front().size(), 0.0);
  for (const auto& ranks : samples_)
    for (std::size_t r = 0; r < ranks.size(); ++r) rates[r] = std::max(rates[r], work_ / ranks[r].wall);
  return rates;
}

double Ceiling::worst_rate() const {
  return spread_of(best_rates()).best;
}
double Ceiling::median_rate() const {
  return spread_of(best_rates()).median;
}

double Ceiling::rate_of_all() const {
  double sum = 0;
  for (const double rate : best_rates()) sum += rate;
  return sum;
}

double Ceiling::rate_of_all_by_processor(int threads) const {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& ranks : samples_) {
    double spent = 0;
    for (const Seconds& seconds : ranks) spent += seconds.processor;
    least = std::min(least, spent);
  }
  const auto ranks = samples_.empty() ? 0.0 : static_cast<double>(samples_.front().size());
  return ranks * work_ * ranks * threads / least;
}

int Ceiling::worst_rank() const {
  const std::vector<double> rates = best_rates();
  return static_cast<int>(std::min_element(rates.begin(), rates.end()) - rates.begin());
}

Entry Ceiling::entry() const {
  Entry entry;
  entry.name = name_;
  entry.kind = "ceiling";
  for (const auto& ranks : samples_) {
    double slowest = 0, spent = 0;
    for (const Seconds& seconds : ranks) {
      slowest = std::max(slowest, seconds.wall);
      spent = std::max(spent, seconds.processor);
    }
    entry.seconds.push_back(slowest);
    entry.processor_seconds.push_back(spent);
  }
  entry.numbers = {{"worst_rank_rate", worst_rate()},
                   {"median_rank_rate", median_rate()},
                   {"rate_of_all_ranks", rate_of_all()},
                   {"worst_rank", worst_rank()}};
  entry.words = {{"unit", unit_}, {"check", verdict(error)}};
  return entry;
}

}  // namespace tally::bench
