#include "core/hash.hpp"

#include <bit>
#include <cstring>

namespace tally {
namespace {

constexpr std::size_t word_bytes = sizeof(std::uint64_t);

// The first `count` bytes, at most 8, as a little-endian number.
std::uint64_t read_word(const std::byte* bytes, std::size_t count) {
  std::uint64_t word = 0;
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(&word, bytes, count);
  } else {
    for (std::size_t i = 0; i < count; ++i) word |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  }
  return word;
}

std::uint64_t mix(std::uint64_t hash, std::uint64_t word) {
  hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
  return hash ^ hash >> 32;
}

// MurmurHash3's finaliser (Austin Appleby, public domain).
std::uint64_t finish(std::uint64_t hash) {
  hash = (hash ^ hash >> 33) * 0xFF51AFD7ED558CCDu;
  hash = (hash ^ hash >> 33) * 0xC4CEB9FE1A85EC53u;
  return hash ^ hash >> 33;
}

}  // namespace

std::uint64_t hash_bytes(std::span<const std::byte> bytes, std::uint64_t seed) {
  // Digits of pi, so that zeros under seed 0 do not hash to 0.
  std::uint64_t hash = seed ^ 0x243F6A8885A308D3u;
  std::size_t i = 0;
  for (; i + word_bytes <= bytes.size(); i += word_bytes) {
    hash = mix(hash, read_word(bytes.data() + i, word_bytes));
  }
  if (i < bytes.size()) hash = mix(hash, read_word(bytes.data() + i, bytes.size() - i));
  return finish(mix(hash, bytes.size()));
}

}  // namespace tally
