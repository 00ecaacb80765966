#include "core/hash.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace tally {
namespace {

std::vector<std::byte> counting_bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i * 37 + 11);
  return bytes;
}

TEST(Hash, OneFlippedBitAnywhereChangesIt) {
  for (const std::size_t size : {1, 7, 8, 9, 16, 31, 200}) {
    std::vector<std::byte> bytes = counting_bytes(size);
    std::set<std::uint64_t> seen = {hash_bytes(bytes)};
    for (std::size_t bit = 0; bit < 8 * size; ++bit) {
      bytes[bit / 8] ^= std::byte{1} << (bit % 8);
      EXPECT_TRUE(seen.insert(hash_bytes(bytes)).second) << "bit " << bit << " of " << size << " bytes";
      bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    }
  }
}

TEST(Hash, AFlippedBitChangesAboutHalfOfTheBits) {
  std::vector<std::byte> bytes = counting_bytes(64);
  const std::uint64_t before = hash_bytes(bytes);
  int changed = 0;
  for (std::size_t bit = 0; bit < 512; ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    changed += std::popcount(hash_bytes(bytes) ^ before);
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }

  constexpr double tolerance = 0.5;  // the mean of 512 binomials of 64 has a standard deviation of 0.18
  EXPECT_NEAR(changed / 512.0, 32, tolerance);
}

TEST(Hash, ZerosOfDifferentLengthsDiffer) {
  std::set<std::uint64_t> seen;
  for (std::size_t size = 0; size <= 100; ++size) {
    EXPECT_TRUE(seen.insert(hash_bytes(std::vector<std::byte>(size))).second) << size;
  }
}

TEST(Hash, SeedsDiffer) {
  const std::vector<std::byte> bytes = counting_bytes(20);
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    EXPECT_TRUE(seen.insert(hash_bytes(bytes, seed)).second) << seed;
  }
}

TEST(Hash, SwappedWordsDiffer) {
  const std::vector<std::uint64_t> words = {1, 2, 3};
  const std::vector<std::uint64_t> swapped = {2, 1, 3};

  EXPECT_NE(hash_bytes(std::as_bytes(std::span(words))), hash_bytes(std::as_bytes(std::span(swapped))));
}

// Written in files: these must never change.
TEST(Hash, IsTheSameInEveryReleaseAndOnEveryMachine) {
  EXPECT_EQ(hash_bytes({}), 0x149aeec19b31d6ccu);
  EXPECT_EQ(hash_bytes(counting_bytes(8)), 0x128497f9325bff1du);
  EXPECT_EQ(hash_bytes(counting_bytes(1001)), 0xc3f73744fcbdf742u);
  EXPECT_EQ(hash_bytes(counting_bytes(13), 42), 0xd4af533de5c205f8u);
}

TEST(Hash, DoesNotDependOnAlignment) {
  const std::vector<std::byte> bytes = counting_bytes(100);
  std::vector<std::byte> shifted(101);
  std::copy(bytes.begin(), bytes.end(), shifted.begin() + 1);

  EXPECT_EQ(hash_bytes(std::span(shifted).subspan(1)), hash_bytes(bytes));
}

std::uint64_t hash_of(const std::vector<std::string>& pieces) {
  Hasher hasher;
  for (const std::string& piece : pieces) hasher.add(piece);
  return hasher.value();
}

TEST(Hasher, OrderAndCutsOfThePiecesMatter) {
  const std::set<std::uint64_t> hashes = {
      hash_of({"ab", "c"}),     hash_of({"a", "bc"}), hash_of({"abc"}),
      hash_of({"c", "ab"}),     hash_of({"", "abc"}), hash_of({"abc", ""}),
      hash_of({"abc", "", ""}), hash_of({}),          hash_of({""})};

  EXPECT_EQ(hashes.size(), 9u);
}

TEST(Hasher, NumbersCountByTheirBits) {
  const std::vector<double> numbers = {1.0, 2.0};
  Hasher pieces, whole, integer, real, zero, negative_zero;
  pieces.add(1.0);
  pieces.add(2.0);
  whole.add(std::span<const double>(numbers));
  integer.add(std::int64_t{1});
  real.add(1.0);
  zero.add(0.0);
  negative_zero.add(-0.0);

  EXPECT_NE(pieces.value(), whole.value());
  EXPECT_NE(integer.value(), real.value());
  EXPECT_NE(zero.value(), negative_zero.value());
  EXPECT_EQ(whole.value(), hash_bytes(std::as_bytes(std::span(numbers))));
}

}  // namespace
}  // namespace tally
