#include "core/hdf5_virtual.hpp"

#include <algorithm>
#include <array>
#include <filesystem>

#include "core/error.hpp"

namespace tally {
namespace {

struct Rectangle {
  std::array<hsize_t, 2> first{0, 0}, last{0, 0};

  hsize_t rows() const { return last[0] - first[0] + 1; }
  hsize_t columns() const { return last[1] - first[1] + 1; }
};

// The selected elements, which must fill a rectangle.
bool read_rectangle(hid_t space, Rectangle& rectangle) {
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank != 1 && rank != 2) return false;
  if (H5Sget_select_bounds(space, rectangle.first.data(), rectangle.last.data()) < 0) return false;
  return H5Sget_select_npoints(space) == static_cast<hssize_t>(rectangle.rows() * rectangle.columns());
}

// What one of HDF5's functions says of the i-th part in words.
template <class Function>
std::string words_of(Function function, hid_t creation, std::size_t i, const std::string& name) {
  const auto size = check_hdf5(function(creation, i, nullptr, 0), name);
  std::string words(static_cast<std::size_t>(size), '\0');
  check_hdf5(function(creation, i, words.data(), words.size() + 1), name);
  return words;
}

// As HDF5 looks for it: beside the virtual data set's file, else as it is named.
std::string source_file(const std::string& source, const std::string& file) {
  if (source == ".") return file;
  const std::filesystem::path beside = std::filesystem::path(file).parent_path() / source;
  std::error_code ignored;
  return std::filesystem::exists(beside, ignored) || !std::filesystem::exists(source, ignored) ? beside.string() : source;
}

}  // namespace

bool is_virtual(hid_t dataset) {
  const Hdf5Handle creation(check_hdf5(H5Dget_create_plist(dataset), "a data set's layout"), H5Pclose);
  return H5Pget_layout(creation.get()) == H5D_VIRTUAL;
}

std::vector<VirtualPart> virtual_parts(hid_t dataset, const std::string& file, const std::string& name) {
  const auto refuse = [&] {
    throw DataError(name + " is a virtual data set whose parts are not whole rows, each row once; copy it into one that is not "
                           "virtual: h5repack -l CONTI");
  };
  const Hdf5Handle creation(check_hdf5(H5Dget_create_plist(dataset), name), H5Pclose);
  const Hdf5Handle extent(check_hdf5(H5Dget_space(dataset), name), H5Sclose);
  std::array<hsize_t, 2> shape{0, 1};
  check_hdf5(H5Sget_simple_extent_dims(extent.get(), shape.data(), nullptr), name);
  std::size_t count = 0;
  check_hdf5(H5Pget_virtual_count(creation.get(), &count), name);

  std::vector<VirtualPart> parts;
  for (std::size_t i = 0; i < count; ++i) {
    const Hdf5Handle here(check_hdf5(H5Pget_virtual_vspace(creation.get(), i), name), H5Sclose);
    const Hdf5Handle there(check_hdf5(H5Pget_virtual_srcspace(creation.get(), i), name), H5Sclose);
    Rectangle target, source;
    if (!read_rectangle(here.get(), target) || target.columns() != shape[1]) refuse();
    VirtualPart part{source_file(words_of(H5Pget_virtual_filename, creation.get(), i, name), file),
                     words_of(H5Pget_virtual_dsetname, creation.get(), i, name), static_cast<Index>(target.first[0]),
                     static_cast<Index>(target.rows()), 0};
    part.whole_source = H5Sget_select_type(there.get()) == H5S_SEL_ALL;
    if (!part.whole_source) {
      if (!read_rectangle(there.get(), source) || source.first[1] != 0 || source.columns() != target.columns() ||
          source.rows() != target.rows())
        refuse();
      part.source_row = static_cast<Index>(source.first[0]);
    }
    parts.push_back(std::move(part));
  }
  std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.first_row < b.first_row; });
  Index next = 0;
  for (const VirtualPart& part : parts) {
    if (part.first_row != next) refuse();
    next += part.rows;
  }
  if (next != static_cast<Index>(shape[0])) refuse();
  return parts;
}

}  // namespace tally
