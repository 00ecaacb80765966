#include "tests/fuzz/recipe_words.hpp"

#include <algorithm>
#include <cstdint>
#include <map>

#include "tests/fuzz/recipe.hpp"

namespace tally::fuzz {

Words split(std::string_view line, char separator) {
  Words words;
  while (!line.empty()) {
    const auto end = std::min(line.find(separator), line.size());
    if (end > 0) words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

Hdf5Handle type_of(std::string_view word) {
  const auto copy = [](hid_t type) { return Hdf5Handle(H5Tcopy(type), H5Tclose); };
  static const std::map<std::string_view, hid_t> plain = {
      {"f4", H5T_IEEE_F32LE},   {"f8", H5T_IEEE_F64LE},        {"F4", H5T_IEEE_F32BE},
      {"F8", H5T_IEEE_F64BE},   {"i1", H5T_STD_I8LE},          {"i2", H5T_STD_I16LE},
      {"i4", H5T_STD_I32LE},    {"i8", H5T_STD_I64LE},         {"u1", H5T_STD_U8LE},
      {"u2", H5T_STD_U16LE},    {"u4", H5T_STD_U32LE},         {"u8", H5T_STD_U64LE},
      {"I8", H5T_STD_I64BE},    {"long", H5T_NATIVE_LDOUBLE},  {"bits", H5T_STD_B32LE},
      {"time", H5T_UNIX_D32LE}, {"reference", H5T_STD_REF_OBJ}};
  if (const auto found = plain.find(word); found != plain.end()) return copy(found->second);
  if (word.starts_with("text")) {
    Hdf5Handle type = copy(H5T_C_S1);
    const auto length = number_of<std::uint32_t>(word.substr(4));
    H5Tset_size(type.get(), length == 0 ? H5T_VARIABLE : length);
    return type;
  }
  if (word == "half") {
    Hdf5Handle type = copy(H5T_IEEE_F32LE);
    H5Tset_fields(type.get(), 15, 10, 5, 0, 10);
    H5Tset_size(type.get(), 2);
    H5Tset_ebias(type.get(), 15);
    return type;
  }
  if (word == "bool" || word == "enum") {
    Hdf5Handle type(H5Tenum_create(word == "bool" ? H5T_NATIVE_INT8 : H5T_NATIVE_INT32), H5Tclose);
    const std::int32_t no = 0, yes = -1;
    H5Tenum_insert(type.get(), "FALSE", &no);
    H5Tenum_insert(type.get(), "TRUE", &yes);
    return type;
  }
  if (word == "record") {
    Hdf5Handle type(H5Tcreate(H5T_COMPOUND, 16), H5Tclose);
    H5Tinsert(type.get(), "a", 0, H5T_NATIVE_DOUBLE);
    H5Tinsert(type.get(), "b", 8, H5T_NATIVE_INT32);
    return type;
  }
  if (word == "list") return {H5Tvlen_create(H5T_NATIVE_DOUBLE), H5Tclose};
  if (word == "array") {
    const hsize_t three = 3;
    return {H5Tarray_create2(H5T_NATIVE_DOUBLE, 1, &three), H5Tclose};
  }
  return {H5Tcreate(H5T_OPAQUE, 4), H5Tclose};
}

std::vector<hsize_t> shape_of(std::string_view word) {
  std::vector<hsize_t> shape;
  for (const std::string_view extent : split(word, 'x')) shape.push_back(number_of<hsize_t>(extent));
  if (shape.size() > H5S_MAX_RANK) shape.resize(H5S_MAX_RANK);
  return shape;
}

Hdf5Handle space_of(std::string_view word) {
  if (word == "null") return {H5Screate(H5S_NULL), H5Sclose};
  if (word == "scalar") return {H5Screate(H5S_SCALAR), H5Sclose};
  const std::vector<hsize_t> shape = shape_of(word);
  return {H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), H5Sclose};
}

}  // namespace tally::fuzz
