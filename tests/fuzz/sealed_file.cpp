#include "tests/fuzz/sealed_file.hpp"

#include <algorithm>
#include <cstdint>
#include <string>

#include <fmt/format.h>

#include "core/hash.hpp"
#include "tests/fuzz/recipe.hpp"

namespace tally::fuzz {

std::vector<std::byte> sealed_file(const std::vector<std::byte>& hdf5, std::string_view recipe) {
  constexpr std::size_t block = 512;
  std::string line =
      fmt::format("tally archive 1 length={} hash={:016x}\n", hdf5.size(), hash_bytes(hdf5, 0));
  line.resize(block);
  std::vector<std::byte> file(block + hdf5.size());
  std::transform(line.begin(), line.end(), file.begin(), [](char c) { return static_cast<std::byte>(c); });
  std::copy(hdf5.begin(), hdf5.end(), file.begin() + block);
  for (const auto& words : lines_with(recipe, "damage"))
    if (words.size() == 3)
      file[number_of<std::size_t>(words[1]) % file.size()] = static_cast<std::byte>(number_of<int>(words[2]));
  for (const auto& words : lines_with(recipe, "cut"))
    if (words.size() == 2) file.resize(file.size() - std::min(number_of<std::size_t>(words[1]), file.size()));
  return file;
}

}  // namespace tally::fuzz
