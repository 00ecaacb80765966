#include "core/hdf5_rows.hpp"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.hpp"
#include "core/hdf5_handle.hpp"
#include "core/io_executor.hpp"
#include "tests/unit/message_of.hpp"
#include "tests/unit/temporary_folder.hpp"

namespace tally {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// How a test's data set lies in its file.
struct Storage {
  std::vector<hsize_t> chunk;  // empty: contiguous
  bool compressed = false;
};

class Hdf5RowsTest : public testing::Test {
 protected:
  // Adds a data set to a file, which is made where there is none.
  template <class T>
  void put(const std::string& file, const std::string& path, const std::vector<hsize_t>& shape,
           const std::vector<T>& values, hid_t memory_type, hid_t file_type, const Storage& storage = {}) {
    io.run([&] {
      const bool fresh = access(file.c_str(), F_OK) != 0;
      Hdf5Handle opened(fresh ? H5Fcreate(file.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT)
                              : H5Fopen(file.c_str(), H5F_ACC_RDWR, H5P_DEFAULT),
                        H5Fclose);
      const Hdf5Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
      H5Pset_create_intermediate_group(links.get(), 1);
      const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
      if (!storage.chunk.empty())
        H5Pset_chunk(creation.get(), static_cast<int>(storage.chunk.size()), storage.chunk.data());
      if (storage.compressed) {
        H5Pset_shuffle(creation.get());
        H5Pset_deflate(creation.get(), 4);
      }
      const Hdf5Handle space(shape.empty()
                                 ? H5Screate(H5S_SCALAR)
                                 : H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
                             H5Sclose);
      Hdf5Handle dataset(check_hdf5(H5Dcreate2(opened.get(), path.c_str(), file_type, space.get(),
                                               links.get(), creation.get(), H5P_DEFAULT),
                                    "test file"),
                         H5Dclose);
      if (!values.empty())
        check_hdf5(H5Dwrite(dataset.get(), memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
                   "test file");
      dataset.close("test file");
      opened.close("test file");
    });
  }
  std::string put_doubles(const std::string& name, const std::string& path, const std::vector<hsize_t>& shape,
                          const std::vector<double>& values, const Storage& storage = {}) {
    put(folder.file(name), path, shape, values, H5T_NATIVE_DOUBLE, H5T_IEEE_F64LE, storage);
    return folder.file(name) + ":" + path;
  }
  std::vector<double> all_of(const RowSource& rows) {
    std::vector<double> values(static_cast<std::size_t>(rows.rows() * rows.columns()));
    rows.read(0, rows.rows(), values.data());
    return values;
  }
  std::string refusal(const std::string& name) {
    return message_of<DataError>([&] { Hdf5Rows(io, {name}); });
  }

  TemporaryFolder folder;
  IoExecutor io;
};

std::vector<double> counting(std::size_t count) {
  std::vector<double> values(count);
  std::iota(values.begin(), values.end(), 0.0);
  return values;
}

TEST(DatasetName, SplitsAtTheLastColonSlash) {
  EXPECT_EQ(parse_dataset_name("data.h5:/x").file, "data.h5");
  EXPECT_EQ(parse_dataset_name("data.h5:/x").path, "/x");
  EXPECT_EQ(parse_dataset_name("a:/b/c:/d/e").file, "a:/b/c");
  EXPECT_EQ(parse_dataset_name("a:/b/c:/d/e").path, "/d/e");
}

TEST(DatasetName, WithoutADataSetSaysHowToWriteOne) {
  EXPECT_EQ(message_of<UsageError>([] { parse_dataset_name("iris.h5"); }),
            "'iris.h5' names no data set; write it as iris.h5:/name");
  for (const std::string text : {"", ":", ":/x", "iris.h5:", "iris.h5:/", "iris.h5:x"})
    EXPECT_THROW(parse_dataset_name(text), UsageError) << text;
}

TEST_F(Hdf5RowsTest, EveryStorageReadsTheSame) {
  const auto values = counting(60);
  for (const auto& storage : {Storage{}, Storage{{7, 2}}, Storage{{5, 6}, true}, Storage{{1, 1}, true}}) {
    const auto path = "/x" + std::to_string(storage.chunk.empty() ? 0 : storage.chunk[0]);
    const Hdf5Rows rows(io, {put_doubles("storage.h5", path, {10, 6}, values, storage)});

    EXPECT_EQ(rows.rows(), 10);
    EXPECT_EQ(rows.columns(), 6);
    EXPECT_EQ(all_of(rows), values);
  }
}

TEST_F(Hdf5RowsTest, EveryNumericTypeReadsAsDouble) {
  const std::vector<double> values{0, 1, 2, 100, 127, 3};
  const std::vector<std::pair<hid_t, bool>> types{
      {H5T_IEEE_F32LE, true}, {H5T_IEEE_F32BE, true}, {H5T_IEEE_F64LE, false}, {H5T_IEEE_F64BE, false},
      {H5T_STD_I8LE, true},   {H5T_STD_U8BE, true},   {H5T_STD_I16BE, true},   {H5T_STD_U16LE, true},
      {H5T_STD_I32LE, false}, {H5T_STD_U32BE, false}, {H5T_STD_I64BE, false},  {H5T_STD_U64LE, false}};
  int number = 0;
  for (const auto& [type, exact] : types) {
    const auto path = "/t" + std::to_string(number++);
    put(folder.file("types.h5"), path, {3, 2}, values, H5T_NATIVE_DOUBLE, type);
    const Hdf5Rows rows(io, {folder.file("types.h5") + ":" + path});

    EXPECT_EQ(all_of(rows), values) << path;
    EXPECT_EQ(rows.fits_float(), exact) << path;
  }
}

TEST_F(Hdf5RowsTest, HalfPrecisionReadsExactlyAndFitsFloat) {
  const Hdf5Handle half(io.run([] {
    const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(type, 15, 10, 5, 0, 10);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, 15);
    return type;
  }),
                        H5Tclose);
  const std::vector<double> values{0.0, -1.5, 65504.0, 0.000061035156250};
  put(folder.file("half.h5"), "/x", {4}, values, H5T_NATIVE_DOUBLE, half.get());

  const Hdf5Rows rows(io, {folder.file("half.h5") + ":/x"});

  EXPECT_EQ(all_of(rows), values);
  EXPECT_TRUE(rows.fits_float());
}

TEST_F(Hdf5RowsTest, BooleansReadAsZeroAndOne) {
  const Hdf5Handle boolean(io.run([] {
    const hid_t type = H5Tenum_create(H5T_STD_I8LE);
    std::int8_t value = 0;
    H5Tenum_insert(type, "FALSE", &value);
    value = 1;
    H5Tenum_insert(type, "TRUE", &value);
    return type;
  }),
                           H5Tclose);
  const std::vector<std::int8_t> values{1, 0, 1};
  put(folder.file("bool.h5"), "/x", {3}, values, boolean.get(), boolean.get());

  const Hdf5Rows rows(io, {folder.file("bool.h5") + ":/x"});

  EXPECT_THAT(all_of(rows), ElementsAre(1.0, 0.0, 1.0));
  EXPECT_TRUE(rows.fits_float());
}

TEST_F(Hdf5RowsTest, NotANumberAndInfinityPassThrough) {
  const double infinity = std::numeric_limits<double>::infinity();
  const Hdf5Rows rows(io, {put_doubles("odd.h5", "/x", {3}, {std::nan(""), infinity, -infinity})});

  const auto values = all_of(rows);

  EXPECT_TRUE(std::isnan(values[0]));
  EXPECT_EQ(values[1], infinity);
  EXPECT_EQ(values[2], -infinity);
}

TEST_F(Hdf5RowsTest, OneDimensionIsOneColumn) {
  const Hdf5Rows rows(io, {put_doubles("column.h5", "/deep/er/y", {5}, counting(5))});

  EXPECT_EQ(rows.rows(), 5);
  EXPECT_EQ(rows.columns(), 1);
  EXPECT_EQ(all_of(rows), counting(5));
}

TEST_F(Hdf5RowsTest, AnyPieceIsThatPieceOfTheWhole) {
  const auto whole = counting(40);
  const Hdf5Rows rows(
      io, {put_doubles("a.h5", "/x", {7, 2}, {whole.begin(), whole.begin() + 14}),
           put_doubles("b.h5", "/x", {0, 2}, {}),
           put_doubles("c.h5", "/x", {13, 2}, {whole.begin() + 14, whole.end()}, {{4, 2}, true})});
  ASSERT_EQ(rows.rows(), 20);

  for (Index first = 0; first <= 20; ++first)
    for (Index count = 0; first + count <= 20; ++count) {
      std::vector<double> piece(static_cast<std::size_t>(2 * count));
      rows.read(first, count, piece.data());
      EXPECT_EQ(piece, std::vector<double>(whole.begin() + 2 * first, whole.begin() + 2 * (first + count)));
    }
}

TEST_F(Hdf5RowsTest, RowsOutsideAreRefused) {
  const Hdf5Rows rows(io, {put_doubles("a.h5", "/x", {2}, {1, 2})});
  double value = 0;

  EXPECT_THROW(rows.read(2, 1, &value), UsageError);
  EXPECT_THROW(rows.read(-1, 1, &value), UsageError);
  EXPECT_THROW(rows.read(1, std::numeric_limits<Index>::max(), &value), UsageError);
}

TEST_F(Hdf5RowsTest, AGlobMeansItsFilesInSortedOrder) {
  put_doubles("part-10.h5", "/x", {1}, {10});
  put_doubles("part-2.h5", "/x", {1}, {2});
  put_doubles("part-1.h5", "/x", {1}, {1});

  const Hdf5Rows rows(io, {folder.file("part-*.h5") + ":/x"});

  EXPECT_THAT(all_of(rows), ElementsAre(1, 10, 2));
  EXPECT_EQ(rows.name(), folder.file("part-*.h5") + ":/x");
}

TEST_F(Hdf5RowsTest, AFileWhoseNameHasWildcardsCanBeNamed) {
  put_doubles("x[1].h5", "/x", {1}, {5});

  EXPECT_THAT(all_of(Hdf5Rows(io, {folder.file("x[1].h5") + ":/x"})), ElementsAre(5));
}

TEST_F(Hdf5RowsTest, AGlobWithoutMatchesIsRefused) {
  EXPECT_EQ(refusal(folder.file("none-*.h5") + ":/x"), folder.file("none-*.h5") + " matches no file");
}

TEST_F(Hdf5RowsTest, ARowIsFoundByItsFilesOwnNumber) {
  const auto a = put_doubles("a.h5", "/x", {2}, {1, 2});
  const auto b = put_doubles("b.h5", "/x", {3}, {1, 2, 3});
  const Hdf5Rows rows(io, {a, b});

  EXPECT_EQ(rows.where(1), a + " row 1");
  EXPECT_EQ(rows.where(2), b + " row 0");
  EXPECT_EQ(rows.where(4), b + " row 2");
  EXPECT_EQ(rows.name(), a + " and 1 more");
}

TEST_F(Hdf5RowsTest, FitsFloatOnlyWhereEveryFileDoes) {
  put(folder.file("f.h5"), "/x", {1}, std::vector<double>{1}, H5T_NATIVE_DOUBLE, H5T_IEEE_F32LE);
  const auto narrow = folder.file("f.h5") + ":/x";
  const auto wide = put_doubles("d.h5", "/x", {1}, {1});

  EXPECT_TRUE(Hdf5Rows(io, {narrow, narrow}).fits_float());
  EXPECT_FALSE(Hdf5Rows(io, {narrow, wide}).fits_float());
  EXPECT_FALSE(Hdf5Rows(io, {wide, narrow}).fits_float());
}

TEST_F(Hdf5RowsTest, ZeroRowsOrColumnsOpen) {
  const Hdf5Rows no_rows(io, {put_doubles("e.h5", "/rows", {0, 3}, {})});
  const Hdf5Rows no_columns(io, {put_doubles("e.h5", "/columns", {3, 0}, {})});

  EXPECT_EQ(no_rows.rows(), 0);
  EXPECT_EQ(no_rows.columns(), 3);
  EXPECT_EQ(no_columns.rows(), 3);
  EXPECT_EQ(no_columns.columns(), 0);
  no_rows.read(0, 0, nullptr);
  no_columns.read(0, 3, nullptr);
}

TEST_F(Hdf5RowsTest, DifferingColumnsAreRefused) {
  const auto a = put_doubles("a.h5", "/x", {2, 3}, counting(6));
  const auto b = put_doubles("b.h5", "/x", {2, 4}, counting(8));

  EXPECT_EQ(message_of<DataError>([&] {
              Hdf5Rows(io, {a, b});
            }),
            b + " has 4 columns but " + a + " has 3; the parts of a data set must have the same columns");
}

TEST_F(Hdf5RowsTest, AMissingFileIsNamed) {
  EXPECT_EQ(refusal(folder.file("no.h5") + ":/x"), folder.file("no.h5") + " does not exist");
}

TEST_F(Hdf5RowsTest, AFolderIsRefused) {
  EXPECT_EQ(refusal(folder.path().string() + ":/x"),
            folder.path().string() + " cannot be read: it is a folder");
}

TEST_F(Hdf5RowsTest, AMissingDataSetListsWhatThereIs) {
  put_doubles("iris.h5", "/x", {1}, {1});
  put_doubles("iris.h5", "/labels", {1}, {1});
  put_doubles("iris.h5", "/more/a", {1}, {1});
  const auto file = folder.file("iris.h5");

  EXPECT_EQ(refusal(file + ":/y"), file + " has no data set /y; it has /labels, /more/a, /x");
  EXPECT_EQ(refusal(file + ":/x/deeper"), file + " has no data set /x/deeper; it has /labels, /more/a, /x");
  EXPECT_EQ(refusal(file + ":/more"),
            file + ":/more is a group, not a data set; it has /labels, /more/a, /x");
}

TEST_F(Hdf5RowsTest, ALongListIsCut) {
  for (char name = 'a'; name < 'k'; ++name) put_doubles("many.h5", std::string("/") + name, {1}, {1});

  EXPECT_THAT(refusal(folder.file("many.h5") + ":/x"), HasSubstr("it has /a, /b, /c, /d, /e, /f and 4 more"));
}

TEST_F(Hdf5RowsTest, OtherFilesAreToldApartFromHdf5) {
  folder.write("text.h5", "1,2,3\n4,5,6\n");
  folder.write("empty.h5", "");

  EXPECT_THAT(refusal(folder.file("text.h5") + ":/x"),
              HasSubstr("text.h5 is not an HDF5 file; `tally convert` makes"));
  EXPECT_THAT(refusal(folder.file("empty.h5") + ":/x"), HasSubstr("empty.h5 is not an HDF5 file"));
}

TEST_F(Hdf5RowsTest, AFileCutAnywhereIsRefused) {
  put_doubles("whole.h5", "/x", {1000}, counting(1000));
  const auto whole = bytes_of(folder.file("whole.h5"));

  for (std::size_t size = 0; size < whole.size(); size += 511) {
    put_bytes(folder.file("cut.h5"), {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)});
    EXPECT_THROW(Hdf5Rows(io, {folder.file("cut.h5") + ":/x"}), DataError) << size;
  }
  put_bytes(folder.file("cut.h5"), {whole.begin(), whole.end() - 1});
  EXPECT_EQ(refusal(folder.file("cut.h5") + ":/x"),
            folder.file("cut.h5") + " is truncated: it has " + std::to_string(whole.size() - 1) +
                " bytes and should have " + std::to_string(whole.size()) + "; copy it again");
}

TEST_F(Hdf5RowsTest, AFileCutWhileItIsReadIsRefused) {
  const auto name = put_doubles("cut.h5", "/x", {100000}, counting(100000));
  const auto size = std::filesystem::file_size(folder.file("cut.h5"));
  const Hdf5Rows rows(io, {name});
  std::vector<double> values(1000);
  rows.read(0, 1000, values.data());

  std::filesystem::resize_file(folder.file("cut.h5"), size / 2);

  EXPECT_EQ(message_of<DataError>([&] { rows.read(99000, 1000, values.data()); }),
            folder.file("cut.h5") + " was cut short while it was being read: it has " + std::to_string(size / 2) +
                " bytes and had " + std::to_string(size));
}

TEST_F(Hdf5RowsTest, DamagedChunksAreNamedByTheirRows) {
  const auto name = put_doubles("damaged.h5", "/x", {4000}, counting(4000), {{4000}, true});
  auto bytes = bytes_of(folder.file("damaged.h5"));
  std::fill(bytes.end() - 600, bytes.end() - 100, '\x55');
  put_bytes(folder.file("damaged.h5"), bytes);

  const Hdf5Rows rows(io, {name});

  const auto message = message_of<DataError>([&] { all_of(rows); });
  EXPECT_THAT(message, HasSubstr(name + " rows 0 to 3999 cannot be read: inflate() failed"));
}

TEST_F(Hdf5RowsTest, WhatHasNoRowsIsRefusedWithItsKind) {
  const auto file = folder.file("kinds.h5");
  put_doubles("kinds.h5", "/cube", {2, 2, 2}, counting(8));
  put_doubles("kinds.h5", "/scalar", {}, {1});
  const Hdf5Handle text(io.run([] {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, 4);
    return type;
  }),
                        H5Tclose);
  put(file, "/text", {2}, std::vector<char>(8, 'a'), text.get(), text.get());
  const Hdf5Handle record(io.run([] {
    const hid_t type = H5Tcreate(H5T_COMPOUND, 8);
    H5Tinsert(type, "a", 0, H5T_NATIVE_FLOAT);
    H5Tinsert(type, "b", 4, H5T_NATIVE_FLOAT);
    return type;
  }),
                          H5Tclose);
  put(file, "/record", {1}, std::vector<float>{1, 2}, record.get(), record.get());

  EXPECT_EQ(refusal(file + ":/cube"),
            file + ":/cube cannot be read as rows: it has 3 dimensions; it must have one dimension or two");
  EXPECT_THAT(refusal(file + ":/scalar"), HasSubstr("it is a single number"));
  EXPECT_THAT(refusal(file + ":/text"), HasSubstr("it holds strings"));
  EXPECT_THAT(refusal(file + ":/record"), HasSubstr("it holds records of several fields"));
}

TEST_F(Hdf5RowsTest, MoreRowsThanAnyDataAreRefused) {
  const Storage chunks{{1024}}, tiles{{1024, 1}};
  const auto rows = put_doubles("rows.h5", "/x", {hsize_t{1} << 60}, {}, chunks);
  const auto square = put_doubles("square.h5", "/x", {hsize_t{1} << 32, hsize_t{1} << 32}, {}, tiles);

  EXPECT_THAT(refusal(rows), HasSubstr("it says that it has 1152921504606846976 rows of 1 columns, more than any data"));
  EXPECT_THAT(refusal(square), HasSubstr("more than any data"));
}

TEST_F(Hdf5RowsTest, APipeIsRefusedAndNotWaitedFor) {
  const auto pipe = folder.file("pipe.h5");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);

  EXPECT_EQ(refusal(pipe + ":/x"), pipe + " cannot be read: it is no regular file");
}

// Rows of a virtual data set in the file that it is made in, and where they lie; no first row of the source: all of it.
struct Mapping {
  std::vector<hsize_t> start, count;
  std::string file, path = "/x";
  std::vector<hsize_t> source_start = {};
  std::vector<hsize_t> source_shape = {};  // of the whole source; empty: `count`
};

class VirtualRowsTest : public Hdf5RowsTest {
 protected:
  std::string put_virtual(const std::string& name, const std::vector<hsize_t>& shape, const std::vector<Mapping>& mappings,
                          hid_t type = H5T_IEEE_F64LE) {
    const std::string file = folder.file(name);
    io.run([&] {
      const bool fresh = access(file.c_str(), F_OK) != 0;
      Hdf5Handle opened(fresh ? H5Fcreate(file.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT)
                              : H5Fopen(file.c_str(), H5F_ACC_RDWR, H5P_DEFAULT),
                        H5Fclose);
      const auto space_of = [](const std::vector<hsize_t>& extent) -> Hdf5Handle {
        return {H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose};
      };
      const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
      for (const Mapping& mapping : mappings) {
        const Hdf5Handle here = space_of(shape);
        const Hdf5Handle there = space_of(mapping.source_shape.empty() ? mapping.count : mapping.source_shape);
        H5Sselect_hyperslab(here.get(), H5S_SELECT_SET, mapping.start.data(), nullptr, mapping.count.data(), nullptr);
        if (!mapping.source_start.empty())
          H5Sselect_hyperslab(there.get(), H5S_SELECT_SET, mapping.source_start.data(), nullptr, mapping.count.data(), nullptr);
        check_hdf5(H5Pset_virtual(creation.get(), here.get(), mapping.file.c_str(), mapping.path.c_str(), there.get()),
                   "test file");
      }
      const Hdf5Handle whole = space_of(shape);
      Hdf5Handle dataset(
          check_hdf5(H5Dcreate2(opened.get(), "/all", type, whole.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT), "test file"),
          H5Dclose);
      dataset.close("test file");
      opened.close("test file");
    });
    return file + ":/all";
  }
  std::string reading_refusal(const Hdf5Rows& rows) {
    return message_of<DataError>([&] { all_of(rows); });
  }
};

TEST_F(VirtualRowsTest, WholeFilesAreReadInTheirOrder) {
  put_doubles("a.h5", "/x", {4, 3}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  put_doubles("b.h5", "/x", {1, 3}, {12, 13, 14});
  const Hdf5Rows rows(io, {put_virtual("all.h5", {5, 3}, {{{4, 0}, {1, 3}, "b.h5"}, {{0, 0}, {4, 3}, "a.h5"}})});

  EXPECT_EQ(rows.rows(), 5);
  EXPECT_EQ(all_of(rows), counting(15));
  EXPECT_EQ(rows.where(4), folder.file("b.h5") + ":/x row 0");
  std::vector<double> across(6);
  rows.read(3, 2, across.data());
  EXPECT_THAT(across, ElementsAre(9, 10, 11, 12, 13, 14));
}

TEST_F(VirtualRowsTest, APartMayBeginWithinItsSource) {
  put_doubles("a.h5", "/x", {5}, {90, 91, 0, 1, 92});
  put_doubles("b.h5", "/x", {4, 1}, {93, 2, 3, 94});
  const Hdf5Rows rows(io, {put_virtual("all.h5", {4}, {{{0}, {2}, "a.h5", "/x", {2}, {5}}, {{2}, {2}, "b.h5", "/x", {1}, {4}}})});

  EXPECT_EQ(all_of(rows), counting(4));
  EXPECT_EQ(rows.where(3), folder.file("b.h5") + ":/x row 2");
}

TEST_F(VirtualRowsTest, ADotMeansTheSameFile) {
  put_doubles("all.h5", "/part", {2, 2}, {0, 1, 2, 3});
  const Hdf5Rows rows(io, {put_virtual("all.h5", {2, 2}, {{{0, 0}, {2, 2}, ".", "/part"}})});

  EXPECT_EQ(all_of(rows), counting(4));
}

TEST_F(VirtualRowsTest, NamesAreRelativeToTheFileThatHoldsThem) {
  std::filesystem::create_directory(folder.path() / "parts");
  put_doubles("parts/a.h5", "/x", {2}, {0, 1});
  const auto name = put_virtual("parts/all.h5", {2}, {{{0}, {2}, "a.h5"}});
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());

  const Hdf5Rows rows(io, {"parts/all.h5:/all"});

  EXPECT_EQ(all_of(rows), counting(2));
  std::filesystem::current_path(before);
}

TEST_F(VirtualRowsTest, OnlyTheFilesOfTheRowsThatAreReadAreNeeded) {
  put_doubles("b.h5", "/x", {1}, {2});
  const Hdf5Rows rows(io, {put_virtual("all.h5", {3}, {{{0}, {2}, "a.h5"}, {{2}, {1}, "b.h5"}})});
  double last = 0;

  rows.read(2, 1, &last);

  EXPECT_EQ(last, 2);
  EXPECT_EQ(reading_refusal(rows), folder.file("a.h5") + " does not exist; rows 0 to 1 of " + folder.file("all.h5") +
                                       ":/all are in it");
}

TEST_F(VirtualRowsTest, ASourceOfOtherRowsIsRefused) {
  put_doubles("a.h5", "/x", {3, 2}, counting(6));
  put_doubles("wide.h5", "/x", {2, 3}, counting(6));
  const Hdf5Rows shorter(io, {put_virtual("1.h5", {4, 2}, {{{0, 0}, {4, 2}, "a.h5"}})});
  const Hdf5Rows longer(io, {put_virtual("2.h5", {2, 2}, {{{0, 0}, {2, 2}, "a.h5"}})});
  const Hdf5Rows piece(io, {put_virtual("3.h5", {2, 2}, {{{0, 0}, {2, 2}, "a.h5", "/x", {2, 0}, {4, 2}}})});
  const Hdf5Rows wider(io, {put_virtual("4.h5", {2, 2}, {{{0, 0}, {2, 2}, "wide.h5"}})});
  const Hdf5Rows elsewhere(io, {put_virtual("5.h5", {2, 2}, {{{0, 0}, {2, 2}, "a.h5", "/y"}})});
  const Hdf5Rows rounded(io, {put_virtual("6.h5", {3, 2}, {{{0, 0}, {3, 2}, "a.h5"}}, H5T_IEEE_F32LE)});

  EXPECT_EQ(reading_refusal(shorter), folder.file("a.h5") + ":/x has 3 rows of 2 columns and cannot hold rows 0 to 3 of " +
                                          folder.file("1.h5") + ":/all");
  EXPECT_THAT(reading_refusal(longer), HasSubstr("has 3 rows of 2 columns and cannot hold rows 0 to 1 of"));
  EXPECT_THAT(reading_refusal(piece), HasSubstr("has 3 rows of 2 columns and cannot hold rows 0 to 1 of"));
  EXPECT_THAT(reading_refusal(wider), HasSubstr("has 2 rows of 3 columns and cannot hold rows 0 to 1 of"));
  EXPECT_THAT(reading_refusal(elsewhere), HasSubstr("has no data set /y; it has /x; rows 0 to 1 of"));
  EXPECT_THAT(reading_refusal(rounded), HasSubstr("holds larger numbers than rows 0 to 2 of"));
}

TEST_F(VirtualRowsTest, AVirtualSourceIsRefused) {
  put_doubles("a.h5", "/x", {2}, {0, 1});
  put_virtual("inner.h5", {2}, {{{0}, {2}, "a.h5"}});
  const Hdf5Rows rows(io, {put_virtual("outer.h5", {2}, {{{0}, {2}, "inner.h5", "/all"}})});

  EXPECT_THAT(reading_refusal(rows), HasSubstr("is virtual itself and cannot hold rows 0 to 1 of"));
}

TEST_F(VirtualRowsTest, EachRowMustBeThereOnceAndWhole) {
  const std::vector<std::vector<Mapping>> refused = {
      {{{1, 0}, {3, 2}, "a.h5"}},                                   // no first row
      {{{0, 0}, {3, 2}, "a.h5"}},                                   // no last row
      {{{0, 0}, {1, 2}, "a.h5"}, {{2, 0}, {2, 2}, "b.h5"}},         // a gap
      {{{0, 0}, {3, 2}, "a.h5"}, {{2, 0}, {2, 2}, "b.h5"}},         // a row twice
      {{{0, 0}, {4, 1}, "a.h5"}, {{0, 1}, {4, 1}, "b.h5"}},         // column by column
      {{{0, 0}, {4, 2}, "a.h5", "/x", {0, 1}, {4, 3}}}};            // columns of a wider source
  for (std::size_t i = 0; i < refused.size(); ++i) {
    const std::string name = std::to_string(i) + ".h5";
    const auto place = put_virtual(name, {4, 2}, refused[i]);
    EXPECT_THAT(refusal(place), HasSubstr("is a virtual data set whose parts are not whole rows, each row once")) << i;
  }
}

TEST_F(Hdf5RowsTest, NoNamesIsAUsageError) {
  EXPECT_THROW(Hdf5Rows(io, {}), UsageError);
}

class Hdf5RowWriterTest : public Hdf5RowsTest {
 protected:
  std::string target = folder.file("out.h5");
};

TEST_F(Hdf5RowWriterTest, WhatIsWrittenIsRead) {
  const auto values = counting(3000);
  const std::vector<std::int64_t> labels{5, -1, std::numeric_limits<std::int64_t>::max()};
  Hdf5RowWriter writer(io, target, "/deep/x", 1000, 3, Hdf5RowWriter::Type::float64);
  writer.append(values.data(), 1);
  writer.append(values.data() + 3, 998);
  writer.append(values.data() + 2997, 1);
  writer.next("/labels", 3, 0, Hdf5RowWriter::Type::int64);
  writer.append(labels.data(), 3);
  writer.next("/deep/narrow", 1000, 3, Hdf5RowWriter::Type::float32);
  writer.append(values.data(), 1000);
  writer.next("/none", 0, 2, Hdf5RowWriter::Type::float64);
  writer.finish();

  EXPECT_EQ(all_of(Hdf5Rows(io, {target + ":/deep/x"})), values);
  EXPECT_EQ(all_of(Hdf5Rows(io, {target + ":/deep/narrow"})), values);
  EXPECT_TRUE(Hdf5Rows(io, {target + ":/deep/narrow"}).fits_float());
  EXPECT_THAT(all_of(Hdf5Rows(io, {target + ":/labels"})), ElementsAre(5, -1, 9223372036854775807.0));
  EXPECT_EQ(Hdf5Rows(io, {target + ":/none"}).rows(), 0);
  EXPECT_EQ(Hdf5Rows(io, {target + ":/none"}).columns(), 2);
  EXPECT_THAT(folder.names(), ElementsAre("out.h5"));
}

TEST_F(Hdf5RowWriterTest, TheFileAppearsOnlyWhenFinished) {
  const double value = 1;
  {
    Hdf5RowWriter writer(io, target, "/x", 1, 0, Hdf5RowWriter::Type::float64);
    writer.append(&value, 1);
    EXPECT_FALSE(std::filesystem::exists(target));
  }

  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST_F(Hdf5RowWriterTest, AnExistingFileIsReplacedOnlyWhenFinished) {
  folder.write("out.h5", "old");
  const double value = 1;
  Hdf5RowWriter writer(io, target, "/x", 1, 0, Hdf5RowWriter::Type::float64);
  writer.append(&value, 1);

  EXPECT_EQ(bytes_of(target).size(), 3U);
  writer.finish();
  EXPECT_THAT(all_of(Hdf5Rows(io, {target + ":/x"})), ElementsAre(1));
}

TEST_F(Hdf5RowWriterTest, TheSameDataMakeTheSameBytes) {
  for (const std::string name : {"one.h5", "two.h5"}) {
    Hdf5RowWriter writer(io, folder.file(name), "/g/x", 2, 2, Hdf5RowWriter::Type::float64);
    writer.append(counting(4).data(), 2);
    writer.finish();
    if (name == "one.h5") sleep(1);
  }

  EXPECT_EQ(bytes_of(folder.file("one.h5")), bytes_of(folder.file("two.h5")));
}

TEST_F(Hdf5RowWriterTest, MoreOrFewerRowsThanAnnouncedAreErrors) {
  const auto values = counting(3);
  Hdf5RowWriter writer(io, target, "/x", 2, 0, Hdf5RowWriter::Type::float64);

  EXPECT_THROW(writer.append(values.data(), 3), Error);
  writer.append(values.data(), 1);
  EXPECT_THROW(writer.finish(), Error);
  EXPECT_THROW(writer.next("/y", 1, 0, Hdf5RowWriter::Type::float64), Error);
}

TEST_F(Hdf5RowWriterTest, FractionsDoNotBecomeIntegers) {
  const std::vector<double> good{3.0, -4.0};
  const std::vector<double> bad{2.5, std::nan("")};
  Hdf5RowWriter writer(io, target, "/x", 4, 0, Hdf5RowWriter::Type::int64);

  writer.append(good.data(), 2);
  EXPECT_THROW(writer.append(bad.data(), 1), DataError);
  EXPECT_THROW(writer.append(bad.data() + 1, 1), DataError);
}

TEST_F(Hdf5RowWriterTest, AMissingFolderIsNamed) {
  const auto message = message_of<DataError>(
      [&] { Hdf5RowWriter(io, folder.file("no/out.h5"), "/x", 1, 0, Hdf5RowWriter::Type::float64); });

  EXPECT_EQ(message, folder.file("no/out.h5") + " cannot be written: there is no folder " + folder.file("no"));
}

TEST_F(Hdf5RowWriterTest, AFolderWithoutPermissionIsRefused) {
  const auto message = message_of<DataError>([&] {
    const ReadOnlyFolder guard(folder);
    Hdf5RowWriter(io, target, "/x", 1, 0, Hdf5RowWriter::Type::float64);
  });

  EXPECT_EQ(message, target + " cannot be written: Permission denied");
}

TEST_F(Hdf5RowWriterTest, ADeviceIsNoTarget) {
  EXPECT_THROW(Hdf5RowWriter(io, "/dev/full", "/x", 1, 0, Hdf5RowWriter::Type::float64), DataError);
}

TEST_F(Hdf5RowWriterTest, AFullDiskIsAnErrorThatLeavesNothing) {
  const auto values = counting(100000);
  for (const std::size_t limit :
       {0, 1, 100, 800, 4096, 70000, 100000, 200000, 400000, 799999, 800000, 865000}) {
    const auto message = message_of<DataError>([&] {
      const FileSizeLimit full(limit);
      Hdf5RowWriter writer(io, target, "/x", 100000, 0, Hdf5RowWriter::Type::float64);
      writer.append(values.data(), 100000);
      writer.finish();
    });

    EXPECT_EQ(message, target + " cannot be written: File too large") << limit;
    EXPECT_THAT(folder.names(), IsEmpty()) << limit;
  }
}

TEST_F(Hdf5RowWriterTest, ALinkStaysALink) {
  folder.write("real.h5", "old");
  std::filesystem::create_symlink("real.h5", target);
  const double value = 2;

  Hdf5RowWriter writer(io, target, "/x", 1, 0, Hdf5RowWriter::Type::float64);
  writer.append(&value, 1);
  writer.finish();

  EXPECT_TRUE(std::filesystem::is_symlink(target));
  EXPECT_THAT(all_of(Hdf5Rows(io, {folder.file("real.h5") + ":/x"})), ElementsAre(2));
}

}  // namespace
}  // namespace tally
