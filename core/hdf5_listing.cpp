#include "core/hdf5_listing.hpp"

#include "core/hdf5_handle.hpp"
#include "core/io_executor.hpp"

namespace tally {
namespace {

// Groups in groups that are followed.
constexpr int deepest_group = 16;

std::string type_name(hid_t type) {
  const std::string bits = std::to_string(8 * H5Tget_size(type));
  switch (H5Tget_class(type)) {
    case H5T_FLOAT: return "float" + bits;
    case H5T_INTEGER: return (H5Tget_sign(type) == H5T_SGN_NONE ? "uint" : "int") + bits;
    case H5T_ENUM: return "enum" + bits;
    case H5T_STRING: return "text";
    case H5T_COMPOUND: return "records";
    case H5T_VLEN: return "lists";
    default: return "other";
  }
}

DatasetInfo describe(hid_t dataset, const std::string& path) {
  const Hdf5Handle space(check_hdf5(H5Dget_space(dataset), path), H5Sclose);
  const Hdf5Handle type(check_hdf5(H5Dget_type(dataset), path), H5Tclose);
  const Hdf5Handle creation(check_hdf5(H5Dget_create_plist(dataset), path), H5Pclose);
  DatasetInfo info;
  info.path = path;
  info.type = type_name(type.get());
  std::vector<hsize_t> extents(static_cast<std::size_t>(check_hdf5(H5Sget_simple_extent_ndims(space.get()), path)));
  if (!extents.empty()) check_hdf5(H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr), path);
  info.shape.assign(extents.begin(), extents.end());
  if (H5Pget_layout(creation.get()) == H5D_CHUNKED) {
    check_hdf5(H5Pget_chunk(creation.get(), static_cast<int>(extents.size()), extents.data()), path);
    info.chunks.assign(extents.begin(), extents.end());
    info.compressed = H5Pget_nfilters(creation.get()) > 0;
  }
  return info;
}

}  // namespace

std::vector<DatasetInfo> list_datasets(IoExecutor& io, const std::string& file) {
  return io.run([&] {
    const Hdf5Handle opened = open_hdf5(file);
    const Hdf5Handle root(check_hdf5(H5Gopen2(opened.get(), "/", H5P_DEFAULT), file), H5Gclose);
    std::vector<DatasetInfo> found;
    hdf5_visit_datasets(root.get(), deepest_group, [&](const std::string& path, hid_t dataset) {
      found.push_back(describe(dataset, path));
      return true;
    });
    return found;
  });
}

}  // namespace tally
