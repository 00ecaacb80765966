#include "tests/fuzz/recipe.hpp"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

#include "core/error.hpp"
#include "core/hdf5_handle.hpp"
#include "tests/fuzz/recipe_words.hpp"

namespace tally::fuzz {
namespace {

// More elements than this are announced, not written.
constexpr std::size_t most_written = std::size_t{1} << 14;

// How many elements are written: 0 where there are none or too many.
std::size_t written(hid_t space) {
  if (H5Sget_simple_extent_type(space) == H5S_NULL) return 0;
  std::vector<hsize_t> shape(H5S_MAX_RANK);
  const int rank = H5Sget_simple_extent_dims(space, shape.data(), nullptr);
  double elements = rank < 0 ? 0 : 1;
  for (int axis = 0; axis < rank; ++axis)
    elements *= static_cast<double>(shape[static_cast<std::size_t>(axis)]);
  return elements > most_written ? 0 : static_cast<std::size_t>(elements);
}

// Calls write(memory type, numbers) with so many numbers, those of the words again and again.
template <class Number, class Write>
void write_numbers(std::span<const std::string_view> words, std::size_t count, hid_t type, Write write) {
  std::vector<Number> numbers(count);
  for (std::size_t i = 0; i < count; ++i) numbers[i] = number_of<Number>(words[i % words.size()]);
  write(type, numbers.data());
}

template <class Write>
void write_numbers(std::span<const std::string_view> words, std::size_t count, hid_t stored, Write write) {
  if (words.empty() || count == 0) return;
  const H5T_class_t kind = H5Tget_class(stored);
  if (kind == H5T_FLOAT)
    write_numbers<double>(words, count, H5T_NATIVE_DOUBLE, write);
  else if (kind == H5T_INTEGER || kind == H5T_BITFIELD)
    write_numbers<std::int64_t>(words, count, kind == H5T_INTEGER ? H5T_NATIVE_INT64 : stored, write);
  else if (kind == H5T_ENUM && H5Tget_size(stored) <= sizeof(std::int64_t))
    write_numbers<std::int64_t>(words, count, stored,
                                write);  // wider than needed: the values overlap, which does not matter
}

// A file that a recipe's lines are added to.
class Kitchen {
 public:
  explicit Kitchen(hid_t file) : file_(file), links_(H5Pcreate(H5P_LINK_CREATE), H5Pclose) {
    H5Pset_create_intermediate_group(links_.get(), 1);
  }

  void add(std::string_view line) {
    const Words words = split(line, ' ');
    const auto is = [&](std::string_view key, std::size_t least) {
      return words.size() >= least && words[0] == key;
    };
    if (is("group", 2))
      Hdf5Handle(H5Gcreate2(file_, text(words[1]).c_str(), links_.get(), H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
    else if (is("data", 4))
      add_data(words);
    else if (is("attr", 5))
      add_attribute(words, line);
    else if (is("soft", 3))
      H5Lcreate_soft(text(words[2]).c_str(), file_, text(words[1]).c_str(), links_.get(), H5P_DEFAULT);
    else if (is("hard", 3))
      H5Lcreate_hard(file_, text(words[2]).c_str(), file_, text(words[1]).c_str(), links_.get(), H5P_DEFAULT);
    else if (is("external", 4))
      H5Lcreate_external(text(words[2]).c_str(), text(words[3]).c_str(), file_, text(words[1]).c_str(),
                         links_.get(), H5P_DEFAULT);
    else if (is("virtual", 4))
      add_virtual(words);
  }

 private:
  static std::string text(std::string_view word) { return std::string(word); }

  void add_data(const Words& words) {
    const Hdf5Handle type = type_of(words[2]), space = space_of(words[3]);
    const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_obj_track_times(creation.get(), false);
    const auto numbers = std::find(words.begin() + 4, words.end(), "=");
    for (auto word = words.begin() + 4; word != numbers; ++word) {
      if (*word == "gzip") H5Pset_deflate(creation.get(), 1);
      if (!word->starts_with("chunks=")) continue;
      const std::vector<hsize_t> chunk = shape_of(word->substr(7));
      H5Pset_chunk(creation.get(), static_cast<int>(chunk.size()), chunk.data());
    }
    const Hdf5Handle dataset(H5Dcreate2(file_, text(words[1]).c_str(), type.get(), space.get(), links_.get(),
                                        creation.get(), H5P_DEFAULT),
                             H5Dclose);
    if (!dataset || numbers == words.end()) return;
    write_numbers({numbers + 1, words.end()}, written(space.get()), type.get(),
                  [&](hid_t memory, const void* values) {
                    H5Dwrite(dataset.get(), memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
                  });
  }

  void add_attribute(const Words& words, std::string_view line) {
    const Hdf5Handle type = type_of(words[3]), space = space_of(words[4]);
    const Hdf5Handle object(H5Oopen(file_, text(words[1]).c_str(), H5P_DEFAULT), H5Oclose);
    if (!object) return;
    const std::string name = text(words[2]);
    if (H5Aexists(object.get(), name.c_str()) > 0) H5Adelete(object.get(), name.c_str());
    const Hdf5Handle attribute(
        H5Acreate2(object.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    if (!attribute || words.size() < 6 || words[5] != "=") return;
    const std::size_t count = written(space.get());
    if (H5Tget_class(type.get()) == H5T_STRING)
      write_text(attribute.get(), type.get(), count,
                 line.substr(std::min(line.find(" = ") + 3, line.size())));
    else
      write_numbers(std::span(words).subspan(6), count, type.get(),
                    [&](hid_t memory, const void* values) { H5Awrite(attribute.get(), memory, values); });
  }

  static void write_text(hid_t attribute, hid_t type, std::size_t count, std::string_view words) {
    const std::string whole(words);
    if (H5Tis_variable_str(type) > 0) {
      const std::vector<const char*> values(count, whole.c_str());
      if (count > 0) H5Awrite(attribute, type, values.data());
    } else if (count > 0 && H5Tget_size(type) * count <= most_written) {
      std::string values;
      for (std::size_t i = 0; i < count; ++i)
        values += (whole + std::string(H5Tget_size(type), '\0')).substr(0, H5Tget_size(type));
      H5Awrite(attribute, type, values.data());
    }
  }

  // Parts of whole rows of the data set's own width.
  void add_virtual(const Words& words) {
    const Hdf5Handle type = type_of(words[2]), space = space_of(words[3]);
    const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    std::vector<hsize_t> shape = shape_of(words[3]), start(shape.size());
    for (std::size_t at = 4; at + 5 < words.size() && !shape.empty(); at += 6) {
      shape[0] = number_of<hsize_t>(words[at + 2]);
      start[0] = number_of<hsize_t>(words[at + 1]);
      H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, shape.data(), nullptr);
      const hsize_t first = number_of<hsize_t>(words[at + 5]);
      std::vector<hsize_t> extent = shape;
      extent[0] += first;
      const Hdf5Handle source(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr),
                              H5Sclose);
      start[0] = first;
      if (first > 0)
        H5Sselect_hyperslab(source.get(), H5S_SELECT_SET, start.data(), nullptr, shape.data(), nullptr);
      H5Pset_virtual(creation.get(), space.get(), text(words[at + 3]).c_str(), text(words[at + 4]).c_str(),
                     source.get());
    }
    H5Sselect_all(space.get());
    Hdf5Handle(H5Dcreate2(file_, text(words[1]).c_str(), type.get(), space.get(), links_.get(),
                          creation.get(), H5P_DEFAULT),
               H5Dclose);
  }

  hid_t file_;
  Hdf5Handle links_;
};

}  // namespace

std::vector<std::byte> file_of_recipe(std::string_view recipe) {
  silence_hdf5();
  const Hdf5Handle file = hdf5_file_in_memory();
  Kitchen kitchen(file.get());
  for (const std::string_view line : split(recipe, '\n')) kitchen.add(line);
  return hdf5_image(file.get());
}

std::vector<Words> lines_with(std::string_view recipe, std::string_view key) {
  std::vector<Words> found;
  for (const std::string_view line : split(recipe, '\n'))
    if (Words words = split(line, ' '); !words.empty() && words[0] == key) found.push_back(std::move(words));
  return found;
}

}  // namespace tally::fuzz
