#include "core/hdf5_split.hpp"

#include <array>
#include <filesystem>
#include <vector>

#include "core/durable_file.hpp"
#include "core/hdf5_handle.hpp"
#include "core/io_executor.hpp"

namespace tally {
namespace {

// Type, dimensions and columns are those of the first part.
void add_dataset(hid_t file, const std::string& path, const std::string& folder, const std::vector<SplitPart>& parts,
                 const std::string& problem) {
  const Hdf5Handle first = open_hdf5((std::filesystem::path(folder) / parts.front().file).string());
  const Hdf5Handle dataset(check_hdf5(H5Dopen2(first.get(), path.c_str(), H5P_DEFAULT), problem), H5Dclose);
  const Hdf5Handle type(check_hdf5(H5Dget_type(dataset.get()), problem), H5Tclose);
  const Hdf5Handle extent(check_hdf5(H5Dget_space(dataset.get()), problem), H5Sclose);
  const int rank = check_hdf5(H5Sget_simple_extent_ndims(extent.get()), problem);
  std::array<hsize_t, 2> shape{0, 1}, start{0, 0};
  check_hdf5(H5Sget_simple_extent_dims(extent.get(), shape.data(), nullptr), problem);

  const auto space_of = [&](Index rows) -> Hdf5Handle {
    shape[0] = static_cast<hsize_t>(rows);
    return {check_hdf5(H5Screate_simple(rank, shape.data(), nullptr), problem), H5Sclose};
  };
  const Hdf5Handle creation(check_hdf5(H5Pcreate(H5P_DATASET_CREATE), problem), H5Pclose);
  const Hdf5Handle whole = space_of(parts.back().first_row + parts.back().rows);
  for (const SplitPart& part : parts) {
    start[0] = static_cast<hsize_t>(part.first_row);
    const Hdf5Handle source = space_of(part.rows);
    check_hdf5(H5Sselect_hyperslab(whole.get(), H5S_SELECT_SET, start.data(), nullptr, shape.data(), nullptr), problem);
    check_hdf5(H5Pset_virtual(creation.get(), whole.get(), part.file.c_str(), path.c_str(), source.get()), problem);
  }
  check_hdf5(H5Sselect_all(whole.get()), problem);
  check_hdf5(H5Pset_obj_track_times(creation.get(), false), problem);  // the same parts, the same bytes
  Hdf5Handle made(check_hdf5(H5Dcreate2(file, path.c_str(), type.get(), whole.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
                             problem),
                  H5Dclose);
  made.close(problem);
}

}  // namespace

void write_split_file(IoExecutor& io, const std::string& file, const std::vector<std::string>& paths,
                      const std::vector<SplitPart>& parts) {
  const std::string problem = file + " cannot be written";
  const std::string folder = std::filesystem::path(file).parent_path().string();
  const std::vector<std::byte> image = io.run([&] {
    const Hdf5Handle made = hdf5_file_in_memory();
    for (const std::string& path : paths) add_dataset(made.get(), path, folder, parts, problem);
    return hdf5_image(made.get());
  });
  write_file_durably(file, image);
}

}  // namespace tally
