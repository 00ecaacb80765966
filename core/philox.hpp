#pragma once
#include <cmath>
#include <cstdint>

#include "core/view.hpp"

namespace tally {

// Random numbers without a state: each is a function of a key, a global index (of a row, say) and a draw
// number, so it depends on no rank, thread or device. Numbers of one (key, index, draw) share their bits:
// give each use a draw number or a stream of its own. Integers and `uniform` have the same bits everywhere;
// log and cos come from the platform's library, so the last bits of `normal` may differ between host and
// device.

struct PhiloxCounter {
  std::uint32_t word[4];
};

struct PhiloxKey {
  std::uint32_t word[2];
};

// Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
TALLY_HD constexpr PhiloxCounter philox(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t even = std::uint64_t{0xD2511F53u} * counter.word[0];
    const std::uint64_t odd = std::uint64_t{0xCD9E8D57u} * counter.word[2];
    counter = {{static_cast<std::uint32_t>(odd >> 32) ^ counter.word[1] ^ key.word[0],
                static_cast<std::uint32_t>(odd),
                static_cast<std::uint32_t>(even >> 32) ^ counter.word[3] ^ key.word[1],
                static_cast<std::uint32_t>(even)}};
    key.word[0] += 0x9E3779B9u;
    key.word[1] += 0xBB67AE85u;
  }
  return counter;
}

// Streams of one seed are independent of each other: one for each purpose.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint32_t stream = 0;
};

// Two independent 64-bit words.
struct RandomBits {
  std::uint64_t first;
  std::uint64_t second;
};

TALLY_HD constexpr RandomBits random_bits(RandomKey key, std::uint64_t index, std::uint32_t draw) {
  const PhiloxCounter counter = {
      {static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), draw, key.stream}};
  const PhiloxKey seed = {{static_cast<std::uint32_t>(key.seed), static_cast<std::uint32_t>(key.seed >> 32)}};
  const PhiloxCounter out = philox(counter, seed);
  return {std::uint64_t{out.word[1]} << 32 | out.word[0], std::uint64_t{out.word[3]} << 32 | out.word[2]};
}

// (k + 1/2) 2^-52 for the 52 highest bits k: the odd multiples of 2^-53, never 0 or 1, symmetric about 1/2.
TALLY_HD constexpr double open_unit_interval(std::uint64_t bits) {
  return (static_cast<double>(bits >> 12) + 0.5) * 0x1p-52;
}

// Uniform in (0, 1): each odd multiple of 2^-53 with probability 2^-52, exactly.
TALLY_HD constexpr double uniform(RandomKey key, std::uint64_t index, std::uint32_t draw) {
  return open_unit_interval(random_bits(key, index, draw).first);
}

// Standard normal by Box and Muller's transform (its cosine branch); at most 8.6 in magnitude.
TALLY_HD inline double normal(RandomKey key, std::uint64_t index, std::uint32_t draw) {
  constexpr double two_pi = 6.283185307179586476925;
  const RandomBits bits = random_bits(key, index, draw);
  return std::sqrt(-2 * std::log(open_unit_interval(bits.first))) *
         std::cos(two_pi * open_unit_interval(bits.second));
}

// The upper 64 bits of a product of 128 bits.
TALLY_HD constexpr std::uint64_t multiply_high(std::uint64_t a, std::uint64_t b) {
  constexpr std::uint64_t mask = 0xFFFFFFFFu;
  const std::uint64_t low = (a & mask) * (b & mask);
  const std::uint64_t middle = (a >> 32) * (b & mask) + (low >> 32);
  const std::uint64_t other_middle = (a & mask) * (b >> 32) + (middle & mask);
  return (a >> 32) * (b >> 32) + (middle >> 32) + (other_middle >> 32);
}

// An integer of 0 to bound - 1 (0 where bound is 0). Each has probability 1 / bound within 2^-64: a relative
// bias of at most bound 2^-64, beyond detection for any bound that counts rows.
TALLY_HD constexpr std::uint64_t below(RandomKey key, std::uint64_t index, std::uint32_t draw,
                                       std::uint64_t bound) {
  return multiply_high(random_bits(key, index, draw).first, bound);
}

// `poisson` may use the draw numbers from `draw` to `draw + poisson_draws - 1`.
inline constexpr std::uint32_t poisson_draws = 32;

namespace detail {

// log(k!) for k >= 0; the error of Stirling's series is below 1e-10 from k = 10 on.
inline double log_factorial(double k) {
  if (k < 10) {
    double product = 1;
    for (int factor = 2; factor <= static_cast<int>(k); ++factor) product *= factor;
    return std::log(product);
  }
  constexpr double half_log_two_pi = 0.91893853320467274178;
  const double square = k * k;
  return (k + 0.5) * std::log(k) - k + half_log_two_pi +
         (1 / 12.0 - (1 / 360.0 - 1 / (1260.0 * square)) / square) / k;
}

}  // namespace detail

// Poisson of a rate in [0, 1e9]; host only. By inversion of one uniform below rate 10, else by transformed
// rejection (PTRS: W. Hörmann, "The transformed rejection method for generating Poisson random variables",
// Insurance: Mathematics and Economics 12, 1993), one draw number an attempt.
// The library's log and exp decide close calls, so a draw may differ between platforms.
inline std::int64_t poisson(RandomKey key, std::uint64_t index, std::uint32_t draw, double rate) {
  if (rate < 10) {
    const double u = uniform(key, index, draw);
    double probability = std::exp(-rate);
    double cumulative = probability;
    std::int64_t k = 0;
    // The sum may stop a rounding short of u; a probability below 2^-60 cannot move it any more.
    while (u > cumulative && (static_cast<double>(k) < rate || probability > 0x1p-60)) {
      ++k;
      probability *= rate / static_cast<double>(k);
      cumulative += probability;
    }
    return k;
  }
  const double b = 0.931 + 2.53 * std::sqrt(rate);
  const double a = -0.059 + 0.02483 * b;
  const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
  const double v_r = 0.9277 - 3.6224 / (b - 2);
  const double log_rate = std::log(rate);
  for (std::uint32_t attempt = 0; attempt < poisson_draws; ++attempt) {
    const RandomBits bits = random_bits(key, index, draw + attempt);
    const double u = open_unit_interval(bits.first) - 0.5;
    const double v = open_unit_interval(bits.second);
    const double us = 0.5 - std::abs(u);
    const double k = std::floor((2 * a / us + b) * u + rate + 0.43);
    if (us >= 0.07 && v <= v_r) return static_cast<std::int64_t>(k);
    if (k < 0 || (us < 0.013 && v > us)) continue;
    if (std::log(v * inverse_alpha / (a / (us * us) + b)) <= k * log_rate - rate - detail::log_factorial(k)) {
      return static_cast<std::int64_t>(k);
    }
  }
  return static_cast<std::int64_t>(rate);  // probability below 1e-20
}

}  // namespace tally
