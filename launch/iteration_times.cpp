#include "launch/iteration_times.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

namespace tally {
namespace {

// The parts by their names in the file.
constexpr std::pair<const char*, double IterationTimes::*> parts[] = {
    {"iteration_seconds", &IterationTimes::whole},     {"read_seconds", &IterationTimes::read},
    {"compute_seconds", &IterationTimes::compute},     {"wait_seconds", &IterationTimes::wait},
    {"allreduce_seconds", &IterationTimes::allreduce}, {"maximize_seconds", &IterationTimes::maximize},
    {"processor_seconds", &IterationTimes::processor},
};

// How it travels: the start, the number of iterations, these, and the name of the host.
std::vector<std::byte> pack(const RankTimes& times, const std::string& host) {
  const std::size_t count = times.iterations.size(), iteration_bytes = count * sizeof(IterationTimes);
  std::vector<std::byte> bytes(sizeof times.start + sizeof count + iteration_bytes + host.size());
  std::byte* to = bytes.data();
  const auto put = [&](const void* from, std::size_t size) {
    if (size > 0) std::memcpy(to, from, size);
    to += size;
  };
  put(&times.start, sizeof times.start);
  put(&count, sizeof count);
  put(times.iterations.data(), iteration_bytes);
  put(host.data(), host.size());
  return bytes;
}

RankTimes unpack(std::span<const std::byte> bytes) {
  RankTimes times;
  const auto take = [&](void* to, std::size_t size) {
    if (size > 0) std::memcpy(to, bytes.data(), size);
    bytes = bytes.subspan(size);
  };
  std::size_t count = 0;
  take(&times.start, sizeof times.start);
  take(&count, sizeof count);
  times.iterations.resize(count);
  take(times.iterations.data(), count * sizeof(IterationTimes));
  times.host.resize(bytes.size());
  take(times.host.data(), bytes.size());
  return times;
}

}  // namespace

void TimesRecorder::begin() {
  last_ = Clock::now();
  times_.start = std::chrono::duration<double>(last_ - made_).count();
}

void TimesRecorder::iterated(const IterationReport& report) {
  const Clock::time_point now = Clock::now();
  IterationTimes times;
  times.whole = std::chrono::duration<double>(now - last_).count();
  times.read = report.read_seconds;
  times.compute = report.compute_seconds;
  times.allreduce = report.reduce_seconds;
  times.maximize = report.maximize_seconds;
  times.processor = report.processor_seconds;
  times_.iterations.push_back(times);
  last_ = now;
}

std::vector<RankTimes> TimesRecorder::gather(Communicator& communicator) const {
  std::vector<RankTimes> all;
  for (const auto& bytes : communicator.gather(pack(times_, communicator.host_name())))
    all.push_back(unpack(bytes));
  split_waiting(all);
  return all;
}

void split_waiting(std::span<RankTimes> ranks) {
  if (ranks.empty()) return;
  for (std::size_t i = 0; i < ranks.front().iterations.size(); ++i) {
    double least = std::numeric_limits<double>::infinity();
    for (const RankTimes& rank : ranks) least = std::min(least, rank.iterations[i].allreduce);
    for (RankTimes& rank : ranks) {
      IterationTimes& times = rank.iterations[i];
      times.wait = times.allreduce - least;
      times.allreduce = least;
    }
  }
}

std::string to_json(std::span<const RankTimes> ranks) {
  nlohmann::json list = nlohmann::json::array();
  for (const RankTimes& rank : ranks) {
    nlohmann::json entry = {{"rank", list.size()}, {"host", rank.host}, {"start_seconds", rank.start}};
    for (const auto& [name, part] : parts) {
      nlohmann::json& values = entry[name] = nlohmann::json::array();
      for (const IterationTimes& times : rank.iterations) values.push_back(times.*part);
    }
    list.push_back(std::move(entry));
  }
  return nlohmann::json{{"ranks", std::move(list)}}.dump(1) + "\n";
}

std::vector<RankTimes> times_of_json(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  std::vector<RankTimes> ranks;
  for (const auto& entry : json.at("ranks")) {
    RankTimes& rank = ranks.emplace_back();
    rank.host = entry.at("host");
    rank.start = entry.at("start_seconds");
    rank.iterations.resize(entry.at("iteration_seconds").size());
    for (const auto& [name, part] : parts)
      for (std::size_t i = 0; i < rank.iterations.size(); ++i)
        rank.iterations[i].*part = entry.at(name).at(i);
  }
  return ranks;
}

}  // namespace tally
