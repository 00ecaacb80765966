#include "core/hdf5_listing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/hdf5_handle.hpp"
#include "core/io_executor.hpp"
#include "tests/unit/temporary_folder.hpp"

namespace tally {
namespace {

// Ten links in each group back to itself: followed one after the other they would have 10^16 names.
TEST(Hdf5Listing, GroupsThatLinkToThemselvesAreListedOnce) {
  const TemporaryFolder folder;
  const std::string name = folder.file("circles.h5");
  IoExecutor io;
  io.run([&] {
    const Hdf5Handle file(H5Fcreate(name.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
    const Hdf5Handle group(H5Gcreate2(file.get(), "a", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
    for (char link = '0'; link <= '9'; ++link)
      H5Lcreate_hard(file.get(), "a", group.get(), std::string(1, link).c_str(), H5P_DEFAULT, H5P_DEFAULT);
    const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    H5Dclose(H5Dcreate2(group.get(), "x", H5T_IEEE_F64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  });

  const std::vector<DatasetInfo> found = list_datasets(io, name);

  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found.front().path, "/a/x");
  io.run([&] { EXPECT_EQ(hdf5_contents(open_hdf5(name).get()), "it has /a/x"); });
}

}  // namespace
}  // namespace tally
