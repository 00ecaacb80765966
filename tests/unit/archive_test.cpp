#include "core/archive.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

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
using testing::StartsWith;

class ArchiveTest : public testing::Test {
 protected:
  // One of everything that an archive can hold.
  ArchiveWriter example() {
    ArchiveWriter writer(io);
    writer.put("/model/means", {{2, 3}, {1, 2, 3, 4, 5, 6}});
    writer.put("/count", std::vector<std::int64_t>{7, -8});
    writer.attribute("/", "version", std::string_view("0.1"));
    writer.attribute("/model", "objective", -1.25);
    writer.attribute("/model/means", "seed", std::int64_t{42});
    return writer;
  }
  // Everything that a reader of the example sees, as text.
  std::string content(const ArchiveReader& reader) {
    std::string text;
    const auto add = [&text](const auto& values) {
      for (const auto& value : values) text += std::to_string(value) + " ";
      text += "\n";
    };
    for (const std::string group : {"/", "/model"})
      for (const auto& name : reader.list(group)) text += name + "\n";
    add(reader.get("/model/means").shape);
    add(reader.get("/model/means").values);
    add(reader.get_integers("/count"));
    text += reader.text_attribute("/", "version").value_or("none") + "\n";
    text += std::to_string(reader.number_attribute("/model", "objective").value_or(0)) + "\n";
    text += std::to_string(reader.integer_attribute("/model/means", "seed").value_or(0)) + "\n";
    return text;
  }

  TemporaryFolder folder;
  IoExecutor io;
  std::string target = folder.file("model.h5");
};

TEST_F(ArchiveTest, WhatIsSavedIsRead) {
  example().save(target);

  const ArchiveReader reader(io, target);

  EXPECT_EQ(reader.file(), target);
  EXPECT_THAT(reader.list("/"), ElementsAre("count", "model"));
  EXPECT_THAT(reader.get("model/means").shape, ElementsAre(2, 3));
  EXPECT_THAT(reader.get("/model/means").values, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(reader.get_integers("/count"), ElementsAre(7, -8));
  EXPECT_EQ(reader.text_attribute("/", "version"), "0.1");
  EXPECT_EQ(reader.number_attribute("/model", "objective"), -1.25);
  EXPECT_EQ(reader.integer_attribute("/model/means", "seed"), 42);
  EXPECT_THAT(folder.names(), ElementsAre("model.h5"));
}

TEST_F(ArchiveTest, EveryDoubleComesBackWithItsBits) {
  using Limits = std::numeric_limits<double>;
  const std::vector<double> values{0.0,
                                   -0.0,
                                   0.1,
                                   Limits::denorm_min(),
                                   Limits::max(),
                                   -Limits::max(),
                                   Limits::infinity(),
                                   -Limits::infinity(),
                                   Limits::quiet_NaN()};
  ArchiveWriter writer(io);
  writer.put("/x", {{9}, values});
  writer.attribute("/", "nan", Limits::quiet_NaN());
  writer.attribute("/", "infinity", -Limits::infinity());
  writer.save(target);

  const ArchiveReader reader(io, target);
  const auto read = reader.get("/x").values;

  ASSERT_EQ(read.size(), values.size());
  EXPECT_EQ(std::memcmp(read.data(), values.data(), values.size() * sizeof(double)), 0);
  EXPECT_TRUE(std::isnan(reader.number_attribute("/", "nan").value()));
  EXPECT_EQ(reader.number_attribute("/", "infinity"), -Limits::infinity());
}

TEST_F(ArchiveTest, ScalarsEmptyArraysAndLongTextsComeBack) {
  const std::string text(1 << 20, 'x');
  ArchiveWriter writer(io);
  writer.put("/scalar", {{}, {2.5}});
  writer.put("/empty", {{0, 3}, {}});
  writer.put("/no_integers", std::span<const std::int64_t>{});
  writer.attribute("/", "empty", std::string_view());
  writer.attribute("/", "long", text);
  writer.attribute("/", "umlaut", std::string_view("Größe"));
  writer.attribute("/", "least", std::numeric_limits<std::int64_t>::min());
  writer.save(target);

  const ArchiveReader reader(io, target);

  EXPECT_THAT(reader.get("/scalar").shape, IsEmpty());
  EXPECT_THAT(reader.get("/scalar").values, ElementsAre(2.5));
  EXPECT_THAT(reader.get("/empty").shape, ElementsAre(0, 3));
  EXPECT_THAT(reader.get("/empty").values, IsEmpty());
  EXPECT_THAT(reader.get_integers("/no_integers"), IsEmpty());
  EXPECT_EQ(reader.text_attribute("/", "empty"), "");
  EXPECT_EQ(reader.text_attribute("/", "long"), text);
  EXPECT_EQ(reader.text_attribute("/", "umlaut"), "Größe");
  EXPECT_EQ(reader.integer_attribute("/", "least"), std::numeric_limits<std::int64_t>::min());
}

TEST_F(ArchiveTest, OneIsWrittenWhileAnotherIs) {
  ArchiveWriter first = example(), second = example();
  second.save(folder.file("second.h5"));
  first.save(target);
  EXPECT_EQ(content(ArchiveReader(io, target)), content(ArchiveReader(io, folder.file("second.h5"))));
}

TEST_F(ArchiveTest, AnAttributeMakesItsGroupAndTheLastValueCounts) {
  ArchiveWriter writer(io);
  writer.attribute("/a/b", "n", std::int64_t{1});
  writer.attribute("/a/b", "n", 2.5);
  writer.save(target);

  EXPECT_EQ(ArchiveReader(io, target).number_attribute("/a/b", "n"), 2.5);
}

TEST_F(ArchiveTest, AWriterCanSaveAgainWithMore) {
  auto writer = example();
  writer.save(target);
  writer.put("/more", {{1}, {9}});
  writer.save(target);

  EXPECT_THAT(ArchiveReader(io, target).get("/more").values, ElementsAre(9));
  EXPECT_THAT(folder.names(), ElementsAre("model.h5"));
}

TEST_F(ArchiveTest, TheSameContentIsTheSameBytes) {
  example().save(folder.file("one.h5"));
  sleep(1);
  example().save(folder.file("two.h5"));

  EXPECT_EQ(bytes_of(folder.file("one.h5")), bytes_of(folder.file("two.h5")));
}

TEST_F(ArchiveTest, MisuseOfTheWriterIsAUsageError) {
  auto writer = example();

  EXPECT_THROW(writer.put("/count", {{1}, {1}}), UsageError);
  EXPECT_THROW(writer.put("/x", {{2}, {1}}), UsageError);
}

TEST_F(ArchiveTest, WhatIsAbsentIsSaidOrEmpty) {
  example().save(target);
  const ArchiveReader reader(io, target);

  EXPECT_TRUE(reader.contains("/model/means"));
  EXPECT_TRUE(reader.contains("/model"));
  EXPECT_FALSE(reader.contains("/model/weights"));
  EXPECT_FALSE(reader.contains("/model/means/deeper"));
  EXPECT_EQ(reader.text_attribute("/", "nothing"), std::nullopt);
  EXPECT_EQ(reader.number_attribute("/nowhere", "nothing"), std::nullopt);
  EXPECT_EQ(message_of<DataError>([&] { reader.get("/weights"); }),
            target + " has no array /weights; it has /count, /model/means");
  EXPECT_THAT(message_of<DataError>([&] { reader.get("/model"); }), HasSubstr("is a group, not an array"));
  EXPECT_THAT(message_of<DataError>([&] { reader.list("/none"); }), HasSubstr("has no group /none"));
  EXPECT_THAT(message_of<DataError>([&] { reader.list("/count"); }), HasSubstr("is not a group"));
  EXPECT_THAT(message_of<DataError>([&] { reader.number_attribute("/", "version"); }),
              HasSubstr("not a number"));
  EXPECT_THAT(message_of<DataError>([&] { reader.text_attribute("/model", "objective"); }),
              HasSubstr("not text"));
}

TEST_F(ArchiveTest, FractionsAreNoIntegers) {
  ArchiveWriter writer(io);
  writer.put("/whole", {{2}, {3, -4}});
  writer.put("/part", {{1}, {2.5}});
  writer.attribute("/", "whole", 6.0);
  writer.attribute("/", "part", 0.5);
  writer.save(target);
  const ArchiveReader reader(io, target);

  EXPECT_THAT(reader.get_integers("/whole"), ElementsAre(3, -4));
  EXPECT_EQ(reader.integer_attribute("/", "whole"), 6);
  EXPECT_THROW(reader.get_integers("/part"), DataError);
  EXPECT_THROW(reader.integer_attribute("/", "part"), DataError);
}

TEST_F(ArchiveTest, NoSingleByteCanChangeUnnoticed) {
  example().save(target);
  const auto good = bytes_of(target);
  const auto expected = content(ArchiveReader(io, target));
  ASSERT_GT(good.size(), 2000U);

  const auto put_byte = [this](std::size_t at, char byte) {
    std::fstream(target, std::ios::binary | std::ios::in | std::ios::out)
        .seekp(static_cast<std::streamoff>(at))
        .put(byte);
  };
  std::size_t refused = 0;
  for (std::size_t at = 0; at < good.size(); ++at) {
    put_byte(at, static_cast<char>(good[at] ^ (1 << at % 8)));
    try {
      EXPECT_EQ(content(ArchiveReader(io, target)), expected) << "byte " << at;
    } catch (const DataError&) {
      ++refused;
    }
    put_byte(at, good[at]);
  }

  EXPECT_GE(refused, good.size() - 512);
}

TEST_F(ArchiveTest, DamageIsCalledDamage) {
  example().save(target);
  auto bytes = bytes_of(target);
  bytes[bytes.size() - 50] ^= 1;
  put_bytes(target, bytes);

  EXPECT_EQ(message_of<DataError>([&] { ArchiveReader(io, target); }),
            target + " is damaged (checksum differs); use another copy");
}

TEST_F(ArchiveTest, AFileCutOrLengthenedIsRefused) {
  example().save(target);
  const auto good = bytes_of(target);

  for (std::size_t size = 0; size < good.size(); size += 97) {
    put_bytes(target, {good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)});
    EXPECT_THROW(ArchiveReader(io, target), DataError) << size;
  }
  auto longer = good;
  longer.push_back('x');
  put_bytes(target, longer);
  EXPECT_THAT(message_of<DataError>([&] { ArchiveReader(io, target); }),
              HasSubstr("is damaged (its length is"));
}

TEST_F(ArchiveTest, ALaterFormatIsSaid) {
  example().save(target);
  auto bytes = bytes_of(target);
  bytes[14] = '2';
  put_bytes(target, bytes);

  EXPECT_THAT(message_of<DataError>([&] { ArchiveReader(io, target); }), HasSubstr("a newer Tally"));
}

TEST_F(ArchiveTest, PlainHdf5WithoutAUserBlockIsRead) {
  io.run([&] {
    Hdf5Handle file(H5Fcreate(target.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
    const hsize_t extent = 2;
    const Hdf5Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
    const Hdf5Handle dataset(
        H5Dcreate2(file.get(), "weights", H5T_IEEE_F32BE, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
        H5Dclose);
    const std::vector<double> values{0.25, 0.75};
    H5Dwrite(dataset.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    const Hdf5Handle text(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(text.get(), 3);
    H5Tset_strpad(text.get(), H5T_STR_NULLPAD);
    const Hdf5Handle scalar(H5Screate(H5S_SCALAR), H5Sclose);
    const Hdf5Handle attribute(
        H5Acreate2(dataset.get(), "kind", text.get(), scalar.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    H5Awrite(attribute.get(), text.get(), "abc");
  });

  const ArchiveReader reader(io, target);

  EXPECT_THAT(reader.get("weights").values, ElementsAre(0.25, 0.75));
  EXPECT_EQ(reader.text_attribute("weights", "kind"), "abc");
}

TEST_F(ArchiveTest, AnArrayThatIsOnlyAnnouncedIsRefused) {
  io.run([&] {
    Hdf5Handle file(H5Fcreate(target.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
    const std::array<hsize_t, 2> shape{hsize_t{1} << 40, hsize_t{1} << 40}, chunk{1024, 1024};
    const Hdf5Handle space(H5Screate_simple(2, shape.data(), nullptr), H5Sclose);
    const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_chunk(creation.get(), 2, chunk.data());
    H5Dclose(H5Dcreate2(file.get(), "means", H5T_IEEE_F64LE, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT));
  });
  const ArchiveReader reader(io, target);

  EXPECT_EQ(message_of<DataError>([&] { reader.get("means"); }),
            target + ":/means cannot be read: it says that it has 1208925819614629174706176 numbers, and 0 bytes are stored");
}

TEST_F(ArchiveTest, APipeIsRefusedAndNotWaitedFor) {
  ASSERT_EQ(mkfifo(target.c_str(), 0600), 0);

  EXPECT_THROW(ArchiveReader(io, target), DataError);
}

TEST_F(ArchiveTest, AMissingFileIsNamed) {
  EXPECT_EQ(message_of<DataError>([&] { ArchiveReader(io, target); }), target + " does not exist");
}

TEST_F(ArchiveTest, AFullDiskLeavesTheOldFileAndNothingElse) {
  example().save(target);
  const auto old = bytes_of(target);
  auto writer = example();
  writer.put("/large", {{100000}, std::vector<double>(100000)});

  for (const std::size_t limit : {0, 1, 512, 4096, 500000}) {
    const auto message = message_of<DataError>([&] {
      const FileSizeLimit full(limit);
      writer.save(target);
    });

    EXPECT_EQ(message, target + " cannot be written: File too large") << limit;
    EXPECT_THAT(folder.names(), ElementsAre("model.h5")) << limit;
    EXPECT_EQ(bytes_of(target), old) << limit;
  }
}

TEST_F(ArchiveTest, NoPermissionIsTheSystemsWords) {
  const auto writer = example();

  const auto message = message_of<DataError>([&] {
    const ReadOnlyFolder guard(folder);
    writer.save(target);
  });

  EXPECT_EQ(message, target + " cannot be written: Permission denied");
}

TEST_F(ArchiveTest, TheFirstLineIsReadableText) {
  example().save(target);
  const auto bytes = bytes_of(target);

  EXPECT_THAT(std::string(bytes.data(), 100),
              StartsWith("tally archive 1 length=" + std::to_string(bytes.size() - 512)));
}

}  // namespace
}  // namespace tally
