#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

namespace tally {

// A 64-bit hash for detecting differences and damage, not for secrets. Words of 8 bytes, little-endian on
// every machine, the last one padded with zeros, then the length, each go through
//   h = (h ^ word) * odd;  h ^= h >> 32
// and the end is MurmurHash3's finaliser. Every step is a bijection of h and of its word: inputs of equal
// length that differ in one word never collide, nor does one input under two seeds. Part of the file formats:
// do not change.
std::uint64_t hash_bytes(std::span<const std::byte> bytes, std::uint64_t seed = 0);

// The hash of a sequence of pieces; their order and the cuts between them matter.
class Hasher {
 public:
  explicit Hasher(std::uint64_t seed = 0) : state_(seed) {}

  void add(std::span<const std::byte> bytes) { state_ = hash_bytes(bytes, state_); }
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  // Numbers count by their bits in memory: 0.0 and -0.0 differ.
  template <class T>
  requires std::is_arithmetic_v<T>
  void add(std::span<const T> numbers) { add(std::as_bytes(numbers)); }
  template <class T>
  requires std::is_arithmetic_v<T>
  void add(T number) { add(std::span<const T>(&number, 1)); }

  std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_;
};

}  // namespace tally
