#pragma once
#include <charconv>
#include <cstddef>
#include <string_view>
#include <vector>

namespace tally::fuzz {

// The bytes of an HDF5 file that the HDF5 library makes as a recipe says, so that a fuzzer chooses what a file holds and not
// how HDF5 stores it. A line adds one thing; what makes no sense or HDF5 refuses is left out:
//   group PATH
//   data PATH TYPE SHAPE [chunks=SHAPE] [gzip] [= NUMBER...]
//   attr PATH NAME TYPE SHAPE [= NUMBER... or the text to the end of the line]
//   soft PATH TARGET, hard PATH TARGET, external PATH FILE TARGET: links
//   virtual PATH TYPE SHAPE {part FIRST_ROW ROWS FILE DATASET SOURCE_ROW}
// SHAPE is 3x4, scalar or null; TYPE one of the words in recipe_words.cpp. Numbers that are too few are repeated; without any, and
// where there are too many elements to write, HDF5 stores nothing. To be called on an IoExecutor's thread.
std::vector<std::byte> file_of_recipe(std::string_view recipe);

// A number at the beginning of a word; 0 where there is none.
template <class Number>
Number number_of(std::string_view word) {
  Number number{};
  std::from_chars(word.data(), word.data() + word.size(), number);
  return number;
}

// The words of each line of a recipe that begins with this one.
std::vector<std::vector<std::string_view>> lines_with(std::string_view recipe, std::string_view key);

}  // namespace tally::fuzz
